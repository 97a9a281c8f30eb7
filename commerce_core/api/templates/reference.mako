<%inherit file="layout.mako"/>

<%def name="contents()">
<ul>
<li><a href="#start">Start here</a></li>
</ul>
% for tag, operations in tags:
<h2><a href="#tag-${tag['name']}">${tag["name"]}</a></h2>
<ul>
% for operation in operations:
<li><a href="#${operation.id}"><b class="method ${operation.method.lower()}">${operation.method}</b> ${operation.title}</a></li>
% endfor
</ul>
% endfor
<h2><a href="#schemas">Schemas</a></h2>
<ul>
% for name, _, _ in schemas:
<li><a href="#schema-${name}">${name}</a></li>
% endfor
</ul>
</%def>

<%def name="table(caption, fields, heading, places=False)">
<table>
<caption>${caption}</caption>
<thead><tr><th scope="col">${heading}</th><th scope="col">Meaning</th></tr></thead>
<tbody>
% for field in fields:
<tr>
<th scope="row"><code>${field.name}</code>
<span class="type">${field.type}\
% if places:
, ${field.place}\
% endif
% if field.required:
, <em>required</em>\
% endif
</span></th>
<td>${field.told}
% if field.limits:
<span class="limits">\
% for limit in field.limits:
<span>${limit}</span>\
% endfor
</span>
% endif
</td>
</tr>
% endfor
</tbody>
</table>
</%def>

<%def name="operation_article(operation)">
<article id="${operation.id}" class="operation">
<div class="told">
<h3><a href="#${operation.id}">${operation.title}</a></h3>
<p class="address"><b class="method ${operation.method.lower()}">${operation.method}</b> <code>${operation.path}</code></p>
<p>${operation.summary} ${operation.told}</p>
<p class="who">
% if operation.needs_token:
Needs a token that may <code>${operation.permission}</code>.
% elif operation.permission == "public":
Open to everybody.
% else:
Open to guests; a token or a cart token says whose it is.
% endif
</p>
% if operation.parameters:
${table("Parameters", operation.parameters, "Name", places=True)}
% endif
% if operation.body:
${table("Body", operation.body, "Field")}
% endif
<table class="answers">
<caption>Answers</caption>
<thead><tr><th scope="col">Status</th><th scope="col">Meaning</th></tr></thead>
<tbody>
% for answer in operation.answers:
<tr>
<th scope="row"><span class="status s${answer.status[0]}">${answer.status}</span></th>
<td>
% for reason in answer.reasons:
<p><a href="/problems/${reason.slug}">${reason.slug}</a> ${reason.told}</p>
% endfor
% if not answer.reasons:
${answer.told}\
% if answer.type:
 <span class="type">${answer.type}</span>
% endif
% endif
</td>
</tr>
% endfor
</tbody>
</table>
<p class="usual">As everywhere:
% for answer in operation.usual:
% for reason in answer.reasons:
<a href="/problems/${reason.slug}" title="${reason.title}">${answer.status} ${reason.slug}</a>
% endfor
% endfor
</p>
</div>
<div class="shown">
<h4>Request</h4>
<pre tabindex="0"><code>${operation.curl}</code></pre>
<h4>Answer: ${operation.answers[0].status} ${operation.answers[0].phrase}</h4>
% if operation.example:
<pre tabindex="0"><code>${operation.example}</code></pre>
% else:
<p class="nothing">No body.</p>
% endif
</div>
</article>
</%def>

<a class="skip" href="#start">Skip to the reference</a>
<div class="reference">
<nav class="contents" aria-label="Contents">
<p class="name"><a href="#start">${info["title"]}</a> <span>${info["version"]}</span></p>
${contents()}
</nav>
<main>
<header id="start">
<h1>${title}</h1>
<p class="lead">${told}</p>
<p class="links"><a href="/api/v1/openapi.json">OpenAPI 3.1 document</a> <a href="/problems">Problems</a></p>
<details class="contents-small"><summary>Contents</summary>
${contents()}
</details>
<div class="operation">
<div class="told">
<p>The examples run in a shell that knows where the shop is, and a token of its staff:</p>
${table("Headers of every request", common, "Name")}
</div>
<div class="shown">
<h4>Before you try</h4>
<pre tabindex="0"><code>SHOP=http://localhost:6543
commerce user create-admin  # prints a token, once
TOKEN=cmt_...</code></pre>
</div>
</div>
</header>
% for tag, operations in tags:
<section aria-labelledby="tag-${tag['name']}">
<h2 id="tag-${tag['name']}"><a href="#tag-${tag['name']}">${tag["name"]}</a></h2>
<p class="lead">${tag["description"]}</p>
% for operation in operations:
${operation_article(operation)}
% endfor
</section>
% endfor
<section aria-labelledby="schemas">
<h2 id="schemas"><a href="#schemas">Schemas</a></h2>
<p class="lead">What bodies are made of.</p>
% for name, description, fields in schemas:
<article id="schema-${name}" class="schema">
<h3><a href="#schema-${name}">${name}</a></h3>
<p>${description}</p>
% if fields:
${table("Fields", fields, "Field")}
% endif
</article>
% endfor
</section>
</main>
</div>
