<%inherit file="layout.mako"/>
<main class="page">
<nav class="crumbs"><a href="/api/v1/docs">API reference</a></nav>
<h1>Problems</h1>
<p class="lead">Whatever goes wrong is answered as <code>application/problem+json</code> (RFC 9457). Its
<code>type</code> never changes its meaning, so programs decide by it; <code>detail</code> is for people.</p>
<dl class="problems">
% for kind, told in problems:
<dt><span class="status s${kind.status // 100}">${kind.status}</span> <a href="/problems/${kind.slug}">${kind.slug}</a></dt>
<dd><strong>${kind.title}.</strong> ${told}</dd>
% endfor
</dl>
</main>
