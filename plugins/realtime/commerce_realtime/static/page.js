/**
 * Makes the product page move: what the server has written is taken over and kept up to date.
 *
 * The forms go to the API instead, so that nothing is loaded anew; holds are kept by this browser, for all its windows.
 */

const { Stock } = await import(`./stock.js${new URL(import.meta.url).search}`);

const MOST_NEWS = 8;
const HOLDS = "commerce.holds";
// Milliseconds.
const ANNOUNCED_AFTER = 1_200;
const DELTA_SHOWN = 1_800;
const COUNTED_EVERY = 500;
const CONNECTING_SHOWN_AFTER = 400;
const LOOKED_AT_AFTER = 400;
// Whoever has the page open asks for it again when the catalogue changes: not all in one moment.
const [ASKED_AFTER, ASKED_WITHIN] = [100, 900];

const page = {
  live: document.querySelector(".live"),
  news: document.querySelector(".news"),
  holds: document.querySelector(".holds"),
  says: document.querySelector("#says"),
};
const cards = new Map([...document.querySelectorAll(".card")].map((card) => [card.dataset.product, card]));
const choices = new Map([...document.querySelectorAll(".choice")].map((choice) => [choice.dataset.variant, choice]));
const shop = JSON.parse(document.body.dataset.realtime);
const stock = new Stock({ ...shop, storage: sessionStorage });
const listening = new Map(); // by product: what ends it

// --- Words; page.py says the same ---

function stateOf({ is_in_stock, is_low_stock, stock_quantity }) {
  if (!is_in_stock) return "out";
  if (stock_quantity === 0) return "backorder";
  return is_low_stock ? "low" : "plenty";
}

function wordsOf(level) {
  const { stock_quantity: quantity } = level;
  switch (stateOf(level)) {
    case "out": return "Sold out";
    case "backorder": return "On backorder";
    case "low": return `Only ${quantity} left`;
    default: return quantity === null ? "In stock" : `${quantity} in stock`;
  }
}

function nameOf(choice) {
  const card = choice.closest(".card");
  const isAlone = card.querySelectorAll(".choice").length === 1;
  return isAlone ? card.dataset.name : `${card.dataset.name}, ${choice.dataset.name}`;
}

// --- Stock ---

function show(level, { reason, previous }) {
  const choice = choices.get(level.variant_id);
  if (!choice) return;
  const place = choice.querySelector(".stock");
  const words = wordsOf(level);
  const state = stateOf(level);
  const had = choice.dataset.state;
  choice.dataset.state = place.dataset.state = state;
  if (place.querySelector(".words").textContent !== words) {
    place.querySelector(".words").textContent = words;
    if (reason !== "cache") flash(place, previous, level);
  }
  showAct(choice.closest(".card"));
  if (had !== state && reason !== "cache" && reason !== "seed") {
    if (state === "out" || state === "low") announce(`${nameOf(choice)}: ${words}.`);
    else if (had === "out") announce(`${nameOf(choice)} is back: ${words}.`);
  }
  if (reason !== "cache" && reason !== "seed" && reason !== "snapshot") report(choice, level, previous, reason);
}

function light(place) {
  place.classList.remove("moved");
  void place.offsetWidth; // starts the animation anew
  place.classList.add("moved");
}

function flash(place, previous, level) {
  light(place);
  const change = (level.stock_quantity ?? 0) - (previous?.stock_quantity ?? level.stock_quantity ?? 0);
  if (!change) return;
  place.querySelector(".delta")?.remove();
  const delta = document.createElement("span");
  delta.className = "delta";
  delta.setAttribute("aria-hidden", "true");
  delta.dataset.sign = change < 0 ? "down" : "up";
  delta.textContent = change < 0 ? `−${-change}` : `+${change}`;
  place.append(delta);
  setTimeout(() => delta.remove(), DELTA_SHOWN);
}

/** The button, or the countdown, of the variant that is chosen. */
function showAct(card) {
  const chosen = card.querySelector("input:checked")?.closest(".choice");
  const isOut = [...card.querySelectorAll(".choice")].every((choice) => choice.dataset.state === "out");
  card.classList.toggle("is-out", isOut);
  if (!chosen) return;
  const button = card.querySelector(".hold");
  const isSoldOut = chosen.dataset.state === "out";
  button.disabled = false; // one that is not there for the keyboard would lose its place
  button.setAttribute("aria-disabled", String(isSoldOut || button.dataset.busy === "yes"));
  button.firstChild.textContent = isSoldOut ? "Sold out" : "Hold one";
  showHeld(card, held.find((hold) => hold.variant === chosen.dataset.variant));
}

function report(choice, level, previous, reason) {
  if (!previous || previous.stock_quantity === null || level.stock_quantity === null) return;
  const change = level.stock_quantity - previous.stock_quantity;
  if (!change) return;
  const what = Math.abs(change) > 1 ? `${Math.abs(change)} × ${nameOf(choice)}` : nameOf(choice);
  const did = {
    hold: "Held", release: "Given back", expire: "Back on the shelf", receive: "Came in", return: "Came back",
    gone: "No longer for sale",
  }[reason] ?? (change < 0 ? "Gone" : "More");
  const text = `${did}: ${reason === "hold" && !level.is_in_stock ? `the last ${what}` : what}`;
  tell(text);
}

function tell(text) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const said = document.createElement("span");
  said.className = "text";
  said.textContent = text;
  item.append(time, said);
  const list = page.news.querySelector("ol");
  list.prepend(item);
  while (list.children.length > MOST_NEWS) list.lastChild.remove();
}

// --- What is read out: not every number, and not all at once ---

const unsaid = new Set();
let announcing = 0;

function announce(text) {
  unsaid.add(text);
  announcing ||= setTimeout(() => {
    announcing = 0;
    page.says.textContent = [...unsaid].slice(-3).join(" ");
    unsaid.clear();
  }, ANNOUNCED_AFTER);
}

// --- What is on the shelves, and what it costs: as the page says it when it is asked for again ---

let asking = 0;
let isWantedAgain = false;

function askForCards() {
  if (asking) {
    isWantedAgain = true;
    return;
  }
  asking = setTimeout(async () => {
    isWantedAgain = false;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.ok) takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // It will be asked for with the next change, or when the shop is back.
    }
    asking = 0;
    if (isWantedAgain) askForCards();
  }, ASKED_AFTER + Math.random() * ASKED_WITHIN);
}

function takeOver(fresh) {
  const freshCards = [...fresh.querySelectorAll(".card")];
  if (freshCards.length === 0 || cards.size === 0) {
    // From an empty shop to a full one, or the other way round.
    if ((freshCards.length === 0) !== (cards.size === 0)) location.reload();
    return;
  }
  const there = new Set(freshCards.map((card) => card.dataset.product));
  for (const [product, card] of cards) {
    if (!there.has(product)) takeAway(product, card);
  }
  let before = null;
  for (const freshCard of freshCards) {
    const product = freshCard.dataset.product;
    const card = cards.get(product);
    if (card && variantsOf(card) === variantsOf(freshCard)) {
      renew(card, freshCard);
      before = card;
    } else {
      const placed = document.importNode(freshCard, true);
      if (card) {
        keepChoice(card, placed);
        card.replaceWith(placed);
      } else {
        placed.classList.remove("feature"); // that is one place, and taken
        placed.classList.add("is-new");
        if (before) before.after(placed);
        else document.querySelector(".cards").prepend(placed);
        announce(`New: ${placed.dataset.name}.`);
        tell(`New: ${placed.dataset.name}`);
      }
      listening.get(product)?.();
      begin(product, placed);
      before = placed;
    }
  }
}

function takeAway(product, card) {
  if (lookedAt === card) lookAt(null);
  listening.get(product)?.();
  for (const choice of card.querySelectorAll(".choice")) choices.delete(choice.dataset.variant);
  listening.delete(product);
  cards.delete(product);
  card.remove();
}

const variantsOf = (card) => [...card.querySelectorAll(".choice")].map(({ dataset }) => dataset.variant).join();

function keepChoice(card, placed) {
  const chosen = card.querySelector("input:checked")?.value;
  const same = placed.querySelector(`input[value="${CSS.escape(chosen ?? "")}"]`);
  if (same) same.checked = true;
}

/** Everything but the stock, which has its own way here. */
function renew(card, freshCard) {
  card.dataset.name = freshCard.dataset.name;
  for (const name of ["h2", ".maker", ".told", ".off"]) {
    const [place, fresh] = [card.querySelector(name), freshCard.querySelector(name)];
    if (place && fresh) {
      if (place.textContent !== fresh.textContent) place.textContent = fresh.textContent;
    } else if (place) place.remove();
    else if (fresh) {
      const neighbour = name === ".off" ? ".picture .stamp" : "form";
      card.querySelector(neighbour).before(document.importNode(fresh, true));
    }
  }
  const [image, freshImage] = [card.querySelector(".picture img"), freshCard.querySelector(".picture img")];
  if (image && freshImage && image.src !== freshImage.src) image.src = freshImage.src;
  for (const freshChoice of freshCard.querySelectorAll(".choice")) {
    const choice = choices.get(freshChoice.dataset.variant);
    choice.dataset.name = freshChoice.dataset.name;
    const [pill, freshPill] = [choice.querySelector(".pill"), freshChoice.querySelector(".pill")];
    if (pill.textContent !== freshPill.textContent) pill.textContent = freshPill.textContent;
    const [price, freshPrice] = [choice.querySelector(".price"), freshChoice.querySelector(".price")];
    if (price.textContent === freshPrice.textContent) continue;
    price.replaceChildren(...document.importNode(freshPrice, true).childNodes);
    light(price);
    const text = `${nameOf(choice)} now costs ${price.firstChild.textContent.trim()}`;
    tell(text);
    announce(`${text}.`);
  }
}

// --- Who else looks at it: the card that the pointer or the keyboard is at, or that is in the middle of a phone ---

let lookedAt = null;
let endLooking = () => {};
let noticing = 0;

function notice(card) {
  clearTimeout(noticing);
  if (card === lookedAt) return;
  noticing = setTimeout(() => lookAt(card), LOOKED_AT_AFTER);
}

function lookAt(card) {
  endLooking();
  if (lookedAt) showLookers(lookedAt, 0);
  lookedAt = card;
  endLooking = card ? stock.looking(card.dataset.product, (count) => showLookers(card, count)) : () => {};
}

/** Oneself is nobody to be told of. */
function showLookers(card, count) {
  const place = card.querySelector(".looking");
  place.hidden = count < 2;
  if (count > 1) place.querySelector(".number").textContent = count;
}

const middle =
  shop.presence &&
  new IntersectionObserver(
    (seen) => {
      const inTheMiddle = seen.findLast(({ isIntersecting }) => isIntersecting);
      if (inTheMiddle) notice(inTheMiddle.target);
    },
    { rootMargin: "-40% 0px -59%" },
  );
const hasPointer = matchMedia("(hover: hover)").matches;

// --- Whether it is live ---

let retryAt = 0;
let wasLost = false;
let connecting = 0;

function showState({ state, retryIn }) {
  clearTimeout(connecting);
  // An attempt is mostly over before anybody could read of it.
  if (state === "connecting") connecting = setTimeout(() => say("Connecting …"), CONNECTING_SHOWN_AFTER);
  page.live.dataset.state = state;
  document.body.classList.toggle("is-stale", state !== "connected");
  retryAt = retryIn === undefined ? 0 : performance.now() + retryIn;
  if (state === "connected") {
    say("Live");
    if (wasLost) askForCards(); // what has changed meanwhile, nobody has told
  }
  wasLost = state !== "connected" && (wasLost || state === "waiting");
  if (state === "waiting") say("Reconnecting …");
  if (state === "stopped") say("Not live: reload the page");
}

function say(text) {
  page.live.querySelector(".words").textContent = text;
}

function countRetry() {
  const seconds = Math.ceil((retryAt - performance.now()) / 1_000);
  page.live.title = retryAt && seconds > 0 ? `Next attempt in ${seconds} s` : "";
}

// --- Holds: id, variant, name, and until when, by this browser's clock ---

let held = [];

function loadHolds() {
  try {
    held = JSON.parse(localStorage.getItem(HOLDS) ?? "[]").filter(({ id, until }) => id && until > Date.now());
  } catch {
    held = [];
  }
}

function saveHolds() {
  try {
    localStorage.setItem(HOLDS, JSON.stringify(held));
  } catch {
    // Not allowed: then they are kept by this window only.
  }
  showHolds();
}

function showHolds() {
  const list = page.holds.querySelector("ul");
  const shown = new Map([...list.children].map((item) => [item.dataset.hold, item]));
  for (const hold of held) {
    if (!shown.delete(hold.id)) list.append(itemOf(hold));
  }
  for (const item of shown.values()) item.remove();
  page.holds.hidden = held.length === 0;
  for (const card of cards.values()) showAct(card);
  count();
}

function itemOf(hold) {
  const item = document.createElement("li");
  item.dataset.hold = hold.id;
  const what = document.createElement("span");
  what.className = "what";
  what.textContent = hold.name;
  item.append(what, timer(), backButton(hold));
  return item;
}

function timer(words = "") {
  const left = document.createElement("span");
  left.className = "left";
  left.setAttribute("role", "timer");
  const time = document.createElement("span");
  time.className = "time";
  const said = document.createElement("span");
  said.className = "said";
  said.textContent = words;
  left.append(said, time);
  return left;
}

function backButton(hold) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "back";
  button.textContent = "Give back";
  const more = document.createElement("span");
  more.className = "unseen";
  more.textContent = ` ${hold.name}`;
  button.append(more);
  button.addEventListener("click", () => giveBack(hold));
  return button;
}

function showHeld(card, hold) {
  const act = card.querySelector(".act");
  const button = act.querySelector(".hold");
  let place = act.querySelector(".held");
  if (place?.dataset.hold === hold?.id) return;
  const hadFocus = act.contains(document.activeElement);
  place?.remove();
  button.hidden = Boolean(hold);
  if (hold) {
    place = document.createElement("div");
    place.className = "held";
    place.dataset.hold = hold.id;
    place.append(timer("Yours for "), backButton(hold));
    act.append(place);
    count();
  }
  if (hadFocus) (hold ? place.querySelector(".back") : button).focus();
}

function count() {
  const now = Date.now();
  for (const hold of held) {
    const seconds = Math.max(0, Math.ceil((hold.until - now) / 1_000));
    const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    for (const place of document.querySelectorAll(`[data-hold="${CSS.escape(hold.id)}"] .left`)) {
      place.querySelector(".time").textContent = text;
      place.style.setProperty("--left", String(Math.min(1, (hold.until - now) / hold.of)));
    }
  }
  const over = held.filter(({ until }) => until <= now);
  if (over.length === 0) return;
  held = held.filter(({ until }) => until > now);
  showHolds(); // not saved: each window tells its visitor by itself
  for (const hold of over) end(hold, `Your hold on ${hold.name} has ended.`);
}

function end(hold, text) {
  announce(text);
  const card = choices.get(hold.variant)?.closest(".card");
  if (card) note(card, text, "told");
  refresh(hold.variant);
}

function note(card, text, kind) {
  const place = card.querySelector(".note");
  place.hidden = !text;
  place.dataset.kind = kind;
  place.textContent = text;
}

async function hold(card) {
  const choice = card.querySelector("input:checked").closest(".choice");
  const button = card.querySelector(".hold");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.dataset.busy = "yes";
  showAct(card);
  note(card, "");
  try {
    const body = { variant_id: choice.dataset.variant, quantity: 1 };
    // The same key for another try: what is held twice is held once.
    const key = `page-${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const ask = () => api("POST", "holds", body, { "Idempotency-Key": key });
    const answer = await ask().catch(ask);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail ?? told.title);
    const of = Date.parse(told.expires_at) - Date.parse(told.created_at);
    held.push({ id: told.id, variant: told.variant_id, name: nameOf(choice), until: Date.now() + of, of });
    button.dataset.busy = "";
    saveHolds();
    announce(`${nameOf(choice)} is yours for ${Math.round(of / 1_000)} seconds.`);
  } catch (error) {
    const text = error instanceof TypeError ? "The shop cannot be reached. Try again." : error.message;
    note(card, text, "failed");
    announce(text);
  }
  button.dataset.busy = "";
  showAct(card);
  refresh(choice.dataset.variant);
}

async function giveBack(hold) {
  try {
    const answer = await api("DELETE", `holds/${hold.id}`);
    // Not there any more, or over: all the same.
    if (!answer.ok && answer.status !== 404 && answer.status !== 409) throw new Error();
  } catch {
    announce("It could not be given back. Try again.");
    return;
  }
  held = held.filter(({ id }) => id !== hold.id);
  saveHolds();
  announce(`${hold.name} is given back.`);
  refresh(hold.variant);
}

function api(method, path, body, headers = {}) {
  return fetch(`/api/v1/${path}`, {
    method,
    headers: body ? { "Content-Type": "application/json", ...headers } : headers,
    body: body && JSON.stringify(body),
  });
}

/** What nobody pushes has to be asked for: while it is not live, at least what the visitor has just changed. */
async function refresh(variantId) {
  const card = choices.get(variantId)?.closest(".card");
  if (!card || stock.state === "connected") return;
  try {
    const product = await (await api("GET", `products/${card.dataset.product}`)).json();
    stock.seed(
      product.variants.map(({ id, sku, stock: { available, in_stock, low, version } }) => ({
        product_id: product.id, variant_id: id, sku, stock_quantity: available, is_in_stock: in_stock,
        is_low_stock: low, version,
      })),
    );
  } catch {
    // It will be right once it is live again.
  }
}

/** Holds of a page without scripts are in the address; those that have ended meanwhile are forgotten. */
async function takeOverHolds() {
  loadHolds();
  for (const { hold: id, variant, name, milliseconds, of } of [...page.holds.querySelectorAll("li")].map((li) => li.dataset)) {
    if (!held.some((known) => known.id === id)) {
      held.push({ id, variant, name, until: Date.now() + Number(milliseconds), of: Number(of) });
    }
  }
  page.holds.querySelector("ul").replaceChildren();
  const address = new URL(location.href);
  address.searchParams.delete("hold");
  address.searchParams.delete("refused");
  history.replaceState(null, "", address);
  saveHolds();
  for (const known of [...held]) {
    const answer = await api("GET", `holds/${known.id}`).catch(() => null);
    if (answer && (answer.status === 404 || (answer.ok && (await answer.json()).state !== "active"))) {
      held = held.filter(({ id }) => id !== known.id);
      saveHolds();
    }
  }
}

// --- Begin ---

stock.addEventListener("state", ({ detail }) => showState(detail));
function begin(product, card) {
  cards.set(product, card);
  for (const choice of card.querySelectorAll(".choice")) choices.set(choice.dataset.variant, choice);
  stock.seed(
    [...card.querySelectorAll(".choice")].map(({ dataset }) => ({
      product_id: product, variant_id: dataset.variant, sku: dataset.sku,
      stock_quantity: dataset.quantity === "" ? null : Number(dataset.quantity),
      is_in_stock: dataset.inStock === "yes", is_low_stock: dataset.low === "yes", version: Number(dataset.version),
    })),
  );
  listening.set(product, stock.product(product, show));
  card.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    hold(card);
  });
  card.addEventListener("change", () => {
    note(card, "");
    showAct(card);
  });
  showAct(card);
  if (!shop.presence) return;
  if (hasPointer) card.addEventListener("pointerenter", () => notice(card));
  else middle.observe(card);
  card.addEventListener("focusin", () => notice(card));
}

for (const [product, card] of [...cards]) begin(product, card);
if (cards.size > 0) stock.catalogue(askForCards);
if (shop.presence && hasPointer && cards.size > 0) notice(cards.values().next().value);
if (page.news) page.news.hidden = false;
if (document.querySelector("[data-empty]")) {
  say("Waiting for products");
  stock.everything((_level, { reason }) => reason === "cache" || location.reload());
}
addEventListener("storage", ({ key }) => {
  if (key !== HOLDS) return;
  loadHolds();
  showHolds();
});
setInterval(() => {
  count();
  countRetry();
}, COUNTED_EVERY);
await takeOverHolds();
