<%def name="stock_of(variant)">\
<span class="stock" data-state="${state_of(variant['stock'])}"><span class="dot" aria-hidden="true"></span><span \
class="words">${words_of(variant['stock'])}</span></span>\
</%def>\
<%def name="choice(product, variant, alone)">\
<% stock = variant["stock"] %>\
<label class="choice" data-variant="${variant['id']}" data-sku="${variant['sku']}" data-name="${variant['name']}"
  data-quantity="${'' if stock['available'] is None else stock['available']}" data-version="${stock['version']}" \
data-state="${state_of(stock)}" data-in-stock="${'yes' if stock['in_stock'] else 'no'}" \
data-low="${'yes' if stock['low'] else 'no'}">
  <input type="radio" name="variant_id" value="${variant['id']}" class="unseen" \
${'checked' if variant['id'] == product['chosen'] else ''}>
  <span class="pill${' unseen' if alone else ''}">${variant["name"] or variant["sku"]}</span>
  <span class="detail">
    <span class="price">${variant["price"]["formatted"]}\
% if variant["discount_percentage"]:
 <s><span class="unseen">instead of </span>${variant["compare_at_price"]["formatted"]}</s>\
% endif
</span>
    ${stock_of(variant)}
  </span>
</label>
</%def>\
<%def name="card(product, is_feature)">\
<% is_out = not any(variant["stock"]["in_stock"] for variant in product["variants"]) %>\
<article class="card${' feature' if is_feature else ''}${' is-out' if is_out else ''}" \
data-product="${product['id']}" data-slug="${product['slug']}" data-name="${product['name']}">
  <div class="picture">
% if product["images"]:
    <img src="${product['images'][0]['url']}" alt="" width="600" height="600" \
${'fetchpriority="high"' if is_feature else 'loading="lazy"' | n}>
% else:
    <span class="initial" aria-hidden="true">${product["name"][:1]}</span>
% endif
% if product["discount_percentage"]:
    <span class="off">&minus;${product["discount_percentage"]}%</span>
% endif
    <span class="stamp" aria-hidden="true">Sold out</span>
    <span class="looking" role="status" hidden><span class="number"></span><span class="long"> people are</span> looking<span \
class="long"> at this</span></span>
  </div>
  <div class="about">
    <h2>${product["name"]}</h2>
% if product["brand"]:
    <p class="maker">${product["brand"]["name"]}</p>
% endif
% if is_feature:
    <p class="told">${product["description"]}</p>
% endif
    <form method="post" action="${query.address('/hold', refused=None)}">
      <fieldset>
        <legend class="unseen">${product["name"]}: which one?</legend>
% for variant in product["variants"]:
        ${choice(product, variant, len(product["variants"]) == 1)}
% endfor
      </fieldset>
      <div class="act">
        <button class="hold" ${'disabled' if is_out else ''}>${'Sold out' if is_out else 'Hold one'}\
<span class="unseen"> of ${product["name"]}</span></button>
      </div>
      <p class="note" hidden></p>
    </form>
  </div>
</article>
</%def>\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="A shop whose stock you can watch.">
<title>The shelves, live</title>
<link rel="icon" type="image/svg+xml" href="/static/realtime/icon.svg">
<link rel="stylesheet" href="${asset('page.css')}">
<script type="module" src="${asset('page.js')}"></script>
</head>
<body data-realtime="${realtime}">
<a class="skip" href="#shelves">To the products</a>
<header class="top">
  <a class="brand" href="${query.address(category=None, page=1, refused=None)}"><span class="mark" aria-hidden="true"></span>The shop</a>
  <p class="live" data-state="still" role="status"><span class="dot" aria-hidden="true"></span><span class="words">\
As of <time datetime="${now.isoformat()}">${now.strftime("%H:%M:%S")} UTC</time></span></p>
</header>
<main>
% if products or query.category:
<div class="intro">
  <h1>Watch the shelves.</h1>
  <p class="lead">Every number here is the stock at this moment. Hold something, and for ${hold_words} nobody else can have
    it: you see it go, and so does everybody else.</p>
% if is_development and products:
  <details class="try">
    <summary>Make it move</summary>
    <p>Open this page in a second window and hold something there. Or be another shopper, in a terminal:</p>
    <pre tabindex="0"><code>curl ${own_address}/api/v1/holds -H 'Content-Type: application/json' ${'\\'}
  -d '{"variant_id": "${products[0]["chosen"]}", "quantity": 3}'</code></pre>
    <p>What else there is: <a href="/api/v1/docs">the reference of the API</a>.</p>
  </details>
% endif
</div>
% endif

% if refused:
<p class="notice" role="alert">Somebody was faster: <strong>${refused}</strong> has just been sold out.</p>
% endif

% if len(categories) > 1:
<nav class="groups" aria-label="Categories">
  <a href="${query.address(category=None, page=1, refused=None)}" ${'aria-current="page"' if query.category is None else '' | n}>Everything</a>
% for category in categories:
  <a href="${query.address(category=category.slug, page=1, refused=None)}" ${'aria-current="page"' if query.category == category.slug else '' | n}>${category.name}</a>
% endfor
</nav>
% endif

% if products:
<div class="shop">
  <div id="shelves" tabindex="-1">
    <div class="cards">
% for number, product in enumerate(products):
${card(product, number == 0 and product["is_featured"] and query.page == 1)}
% endfor
    </div>
% if last_page > 1:
    <nav class="pages" aria-label="Pages">
% if query.page > 1:
      <a rel="prev" href="${query.address(page=query.page - 1, refused=None)}">Previous</a>
% endif
      <span>Page ${query.page} of ${last_page}</span>
% if query.page < last_page:
      <a rel="next" href="${query.address(page=query.page + 1, refused=None)}">Next</a>
% endif
    </nav>
% endif
  </div>
  <aside class="news" hidden aria-labelledby="news-title">
    <h2 id="news-title">Just now</h2>
    <p class="quiet">Nothing has moved yet.</p>
    <ol></ol>
  </aside>
</div>
% elif query.category or query.page > 1:
<div class="empty">
  <div class="shelf" aria-hidden="true"></div>
  <h2>This shelf is empty.</h2>
  <p><a href="${query.address(category=None, page=1, refused=None)}">See everything there is</a></p>
</div>
% else:
<div class="empty" data-empty>
  <div class="shelf" aria-hidden="true"></div>
  <h1>Nothing on the shelves yet.</h1>
  <p>The shop is running, and has no products that are for sale.</p>
% if is_development:
  <p>Fill it with thirty of them:</p>
  <pre tabindex="0"><code>.venv/bin/commerce demo load development.ini</code></pre>
  <p>Or add your own: <a href="/api/v1/docs">the reference of the API</a> says how.</p>
% endif
</div>
% endif

<section class="holds" aria-labelledby="holds-title" ${'' if holds else 'hidden'}>
  <h2 id="holds-title">Yours for now</h2>
  <ul>
% for hold in holds:
    <li data-hold="${hold['id']}" data-variant="${hold['variant_id']}" data-name="${hold['name']}" \
data-milliseconds="${hold['milliseconds']}" data-of="${hold['of']}">
      <span class="what">${hold["name"]}</span>
      <span class="left">until ${hold["until"].strftime("%H:%M:%S")} UTC</span>
      <form method="post" action="${query.address('/hold/release', refused=None)}">
        <button class="back" name="hold_id" value="${hold['id']}">Give back<span class="unseen"> ${hold["name"]}</span></button>
      </form>
    </li>
% endfor
  </ul>
</section>
</main>
<p id="says" class="unseen" role="status"></p>
<footer>
  <p>Pushed by <code>commerce_realtime</code>. Put it in your own page with
    <a href="/static/realtime/stock.js">stock.js</a>, or any client of the Pusher protocol.</p>
</footer>
</body>
</html>
