<%inherit file="layout.mako"/>
<main class="page">
<nav class="crumbs"><a href="/api/v1/docs">API reference</a> / <a href="/problems">Problems</a></nav>
<h1>${kind.title}</h1>
<p><span class="status s${kind.status // 100}">${kind.status} ${phrase}</span> <code>/problems/${kind.slug}</code></p>
% for paragraph in paragraphs:
<p class="lead">${paragraph}</p>
% endfor
<h2>What it looks like</h2>
<pre><code>${example}</code></pre>
</main>
