<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" type="image/svg+xml" href="/static/realtime/icon.svg">
<link rel="stylesheet" href="${asset('page.css')}">
</head>
<body>
<header class="top">
  <a class="brand" href="${back}"><span class="mark" aria-hidden="true"></span>The shop</a>
</header>
<main>
<div class="trouble">
  <h1>${title}</h1>
  <p>${detail}</p>
  <a class="go" href="${back}">Back to the shelves</a>
</div>
</main>
</body>
</html>
