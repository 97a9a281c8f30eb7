/**
 * Stock as it changes, for any web page. No dependencies.
 *
 *     import { Stock } from "/static/realtime/stock.js";
 *
 *     const stock = new Stock();
 *     const stop = stock.product(id, (level) => show(level.sku, level.stock_quantity));
 *
 * A subscription begins with a snapshot, and so does every reconnection: what is missed meanwhile does not matter.
 * Every level has a version, and what is older than what is known is dropped, from wherever it comes. The types are in
 * stock.d.ts, the documentation in docs/clients.md.
 */

const EVERYTHING = "inventory";
const OF_PRODUCT = "inventory.product.";
const OF_VARIANT = "inventory.variant.";
const CATALOGUE = "catalogue";
const LOOKING = "presence-product.";
const FACTS = ["product_id", "sku", "stock_quantity", "is_in_stock", "is_low_stock", "version"];
// Milliseconds. A connection that has lasted so long was a good one: the next failure is the first again.
const GOOD_AFTER = 5_000;
// A server that restarts sends its clients away one after the other: they may come back at once, but not in step.
const AT_ONCE = 250;
const SAVE_AFTER = 300;
const MOST_SAVED = 500;

const DEFAULTS = {
  configUrl: "/api/v1/realtime/config",
  authUrl: "/broadcasting/auth",
  authHeaders: {},
  minDelay: 1_000,
  maxDelay: 30_000,
  connectTimeout: 10_000,
  pongTimeout: 10_000,
  storage: null,
  storageKey: "commerce.stock",
  maxAge: 30 * 60_000,
};

export class Stock extends EventTarget {
  #options;
  #server = null; // where to connect, once that is known
  #state = "idle";
  #socket = null;
  #listeners = new Map(); // by channel
  #members = new Map(); // by presence channel: who is there
  #socketId = "";
  #levels = new Map(); // by variant: the newest that is known
  #saved = new Map(); // when each came, for the storage
  #failures = 0;
  #goodSince = Infinity;
  #refusal = null; // what the server said before it closed
  #activityTimeout = 30_000;
  #timers = { retry: 0, connect: 0, activity: 0, save: 0 };
  #unwatch = () => {};

  constructor(options = {}) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    if (options.key) this.#server = { path: "", tls: false, host: null, ...options };
    this.#restore();
  }

  /** "idle", "connecting", "connected", "waiting" (to try again) or "stopped" (for good). */
  get state() {
    return this.#state;
  }

  /** Hear of a product's variants. Returns a function that ends it. */
  product(id, listener) {
    return this.#subscribe(OF_PRODUCT + id, listener);
  }

  /** Hear of one variant. Returns a function that ends it. */
  variant(id, listener) {
    return this.#subscribe(OF_VARIANT + id, listener);
  }

  /** Hear of everything in the shop. Returns a function that ends it. */
  everything(listener) {
    return this.#subscribe(EVERYTHING, listener);
  }

  /** Hear that something in the catalogue looks different now: a price, a name, a new product. Ask what. */
  catalogue(listener) {
    return this.#subscribe(CATALOGUE, listener);
  }

  /** Be one of those who look at a product, and hear how many that are. Returns a function that ends it. */
  looking(id, listener) {
    return this.#subscribe(LOOKING + id, listener);
  }

  /** What is known of a variant, if anything. */
  get(variantId) {
    return this.#levels.get(variantId);
  }

  /** Tell what is known from elsewhere: the page itself, or an answer of the API. Older news is dropped here, too. */
  seed(levels) {
    for (const level of levels) this.#take(level, "seed");
  }

  /** Disconnect, and forget everybody who listens. */
  close() {
    this.#listeners.clear();
    this.#save();
    this.#leave();
    this.#unwatch();
    this.#failures = 0;
    this.#become("idle");
  }

  // --- Who listens ---

  #subscribe(channel, listener) {
    let listeners = this.#listeners.get(channel);
    if (!listeners) {
      this.#listeners.set(channel, (listeners = new Set()));
      this.#ask(channel);
    }
    const entry = { listener };
    listeners.add(entry);
    if (this.#state === "idle") this.#start();
    queueMicrotask(() => {
      if (this.#members.has(channel)) call(listener, this.#members.get(channel).size);
      for (const level of this.#levels.values()) {
        if (listeners.has(entry) && channelsOf(level).includes(channel)) call(listener, level, { reason: "cache" });
      }
    });
    return () => {
      listeners.delete(entry);
      if (listeners.size === 0 && this.#listeners.get(channel) === listeners) {
        this.#listeners.delete(channel);
        this.#members.delete(channel);
        this.#send("pusher:unsubscribe", { channel });
      }
    };
  }

  #tell(level, change) {
    for (const channel of channelsOf(level)) this.#call(channel, level, change);
    this.#emit("level", { level, ...change });
  }

  #call(channel, ...what) {
    for (const { listener } of [...(this.#listeners.get(channel) ?? [])]) call(listener, ...what);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // --- What is known ---

  /** An event must be newer than what is known; a snapshot may say more about the same version. */
  #take({ previous_quantity: _previous, change_reason, ...level }, reason) {
    const previous = this.#levels.get(level.variant_id);
    if (previous && level.version < previous.version) return;
    if (previous && level.version === previous.version) {
      if (change_reason || FACTS.every((fact) => previous[fact] === level[fact])) return;
    }
    this.#levels.set(level.variant_id, level);
    this.#saved.set(level.variant_id, Date.now());
    this.#saveSoon();
    this.#tell(level, { reason: change_reason ?? reason, previous });
  }

  #takeSnapshot(channel, { levels, complete = true }) {
    for (const level of levels) this.#take(level, "snapshot");
    if (!complete) return;
    const there = new Set(levels.map((level) => level.variant_id));
    for (const [id, previous] of [...this.#levels]) {
      if (there.has(id) || !channelsOf(previous).includes(channel)) continue;
      this.#levels.delete(id);
      this.#saved.delete(id);
      this.#saveSoon();
      const level = { ...previous, stock_quantity: 0, is_in_stock: false, is_low_stock: false };
      this.#tell(level, { reason: "gone", previous });
    }
  }

  #restore() {
    try {
      const since = Date.now() - this.#options.maxAge;
      for (const [at, level] of JSON.parse(this.#options.storage?.getItem(this.#options.storageKey) ?? "[]")) {
        if (at < since || !level.variant_id) continue;
        this.#levels.set(level.variant_id, level);
        this.#saved.set(level.variant_id, at);
      }
    } catch {
      // Somebody else's, or not allowed: then nothing is known yet.
    }
  }

  #saveSoon() {
    if (this.#options.storage) this.#timers.save ||= setTimeout(() => this.#save(), SAVE_AFTER);
  }

  #save() {
    clearTimeout(this.#timers.save);
    this.#timers.save = 0;
    const newest = [...this.#saved].sort((one, other) => other[1] - one[1]).slice(0, MOST_SAVED);
    try {
      const content = JSON.stringify(newest.map(([id, at]) => [at, this.#levels.get(id)]));
      this.#options.storage?.setItem(this.#options.storageKey, content);
    } catch {
      // Full, or not allowed. It is a convenience.
    }
  }

  // --- The connection ---

  #become(state, detail = {}) {
    const previous = this.#state;
    this.#state = state;
    if (previous !== state || state === "waiting") this.#emit("state", { state, previous, ...detail });
  }

  #start() {
    this.#watch();
    this.#connect();
  }

  async #connect() {
    clearTimeout(this.#timers.retry);
    this.#refusal = null;
    this.#goodSince = Infinity;
    this.#become("connecting");
    const attempt = (this.#socket = {}); // stands for the socket until there is one: whoever leaves takes it away
    const lost = (code) => attempt === this.#socket && this.#lose(code);
    this.#timers.connect = setTimeout(() => this.#lose(1006), this.#options.connectTimeout);
    try {
      this.#server ??= await this.#askServer();
      if (attempt !== this.#socket) return;
      const socket = new (this.#options.WebSocket ?? WebSocket)(addressOf(this.#server));
      attempt.send = (message) => socket.send(message);
      attempt.close = (code) => socket.close(code);
      socket.onmessage = ({ data }) => attempt === this.#socket && this.#hear(data);
      socket.onclose = ({ code }) => lost(code);
    } catch {
      lost(1006);
    }
  }

  async #askServer() {
    const answer = await (this.#options.fetch ?? fetch)(this.#options.configUrl);
    if (!answer.ok) throw new Error(`${this.#options.configUrl} answers ${answer.status}`);
    const server = await answer.json();
    // The host of who was asked, which need not be the page's.
    return { ...server, host: server.host ?? new URL(answer.url).hostname };
  }

  /** The connection has ended, or could not be made: try again after a while, unless the server says not to. */
  #lose(code) {
    const refusal = this.#refusal;
    const wasGood = performance.now() - this.#goodSince > GOOD_AFTER;
    this.#leave();
    if (code >= 4000 && code < 4100) {
      this.#become("stopped", { code, message: refusal?.message ?? "" });
      return;
    }
    if (wasGood) this.#failures = 0;
    const retryIn = this.#delay(code);
    this.#failures += 1;
    this.#timers.retry = setTimeout(() => this.#connect(), retryIn);
    this.#become("waiting", { code, message: refusal?.message ?? "", retryIn });
  }

  /** Milliseconds: anything up to a limit that doubles with each failure, so that a crowd does not come back as one. */
  #delay(code) {
    const { minDelay, maxDelay } = this.#options;
    if (code >= 4200 && code < 4300 && this.#failures === 0) return Math.random() * AT_ONCE;
    const limit = code >= 4300 ? maxDelay : Math.min(maxDelay, minDelay * 2 ** this.#failures);
    const atLeast = code >= 4100 && code < 4200 ? minDelay : 0;
    return atLeast + Math.random() * limit;
  }

  #leave() {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of ["retry", "connect", "activity"]) clearTimeout(this.#timers[name]);
    socket?.close?.();
  }

  #send(event, data) {
    if (this.#state === "connected") this.#socket.send(JSON.stringify({ event, data }));
  }

  /** Ask for a channel, with leave to listen where that is needed. */
  async #ask(channel) {
    if (this.#state !== "connected") return;
    if (!channel.startsWith(LOOKING)) return this.#send("pusher:subscribe", { channel });
    const socket = this.#socket;
    const { authUrl, authHeaders, fetch: ask = fetch } = this.#options;
    const isWanted = () => this.#socket === socket && this.#listeners.has(channel);
    try {
      const body = new URLSearchParams({ socket_id: this.#socketId, channel_name: channel });
      const answer = await ask(authUrl, { method: "POST", headers: authHeaders, body });
      if (!answer.ok) throw new Error(`${authUrl} answers ${answer.status}`);
      const leave = await answer.json();
      if (isWanted()) this.#send("pusher:subscribe", { channel, ...leave });
    } catch ({ message }) {
      if (isWanted()) this.#emit("error", { channel, type: "AuthError", error: message });
    }
  }

  #hear(text) {
    const { event, channel, data } = JSON.parse(text);
    // Written twice, as the protocol has it; but what others send in these channels may be anything.
    const content = () => (typeof data === "string" ? JSON.parse(data) : data);
    this.#stayAwake();
    if (event === "pusher:connection_established") this.#welcome(content());
    else if (event === "pusher:ping") this.#send("pusher:pong", {});
    else if (event === "pusher:error") this.#emit("error", (this.#refusal = content()));
    else if (event === "pusher:subscription_error") this.#emit("error", { ...content(), channel });
    else if (event === "inventory.updated") this.#take(content(), "update");
    else if (event === "inventory.snapshot") this.#takeSnapshot(channel, content());
    else if (event === "product.updated") this.#emit("product", content());
    else if (event === "catalogue.updated") this.#call(CATALOGUE);
    else if (channel?.startsWith(LOOKING)) this.#count(channel, event, content());
  }

  #count(channel, event, data) {
    if (!this.#listeners.has(channel)) return;
    const members = this.#members.get(channel);
    if (event === "pusher_internal:subscription_succeeded") this.#members.set(channel, new Set(data.presence.ids));
    else if (event === "pusher_internal:member_added") members?.add(data.user_id);
    else if (event === "pusher_internal:member_removed") members?.delete(data.user_id);
    if (this.#members.has(channel)) this.#call(channel, this.#members.get(channel).size);
  }

  #welcome({ socket_id, activity_timeout }) {
    clearTimeout(this.#timers.connect);
    this.#goodSince = performance.now();
    this.#activityTimeout = activity_timeout * 1_000;
    this.#socketId = socket_id;
    this.#members.clear();
    this.#become("connected");
    for (const channel of this.#listeners.keys()) this.#ask(channel);
    this.#stayAwake();
  }

  /** After a silence, ask whether the server is still there. A socket whose other end is gone would not tell. */
  #stayAwake() {
    clearTimeout(this.#timers.activity);
    this.#timers.activity = setTimeout(() => {
      this.#send("pusher:ping", {});
      this.#timers.activity = setTimeout(() => this.#lose(1006), this.#options.pongTimeout);
    }, this.#activityTimeout);
  }

  /** In a page: come back with the network, and leave when the page is put aside, so that it can be taken up again. */
  #watch() {
    if (typeof window === "undefined") return;
    const hurry = () => {
      if (this.#state !== "waiting" || document.hidden) return;
      clearTimeout(this.#timers.retry);
      this.#timers.retry = setTimeout(() => this.#connect(), Math.random() * AT_ONCE);
    };
    const put = () => {
      this.#save();
      if (this.#state === "stopped") return;
      this.#leave();
      this.#become("waiting");
    };
    const watched = [
      [window, "online", hurry],
      [document, "visibilitychange", hurry],
      [window, "pagehide", put],
      [window, "pageshow", hurry],
    ];
    for (const [target, event, listener] of watched) target.addEventListener(event, listener);
    this.#unwatch = () => {
      for (const [target, event, listener] of watched) target.removeEventListener(event, listener);
      this.#unwatch = () => {};
    };
  }
}

function channelsOf(level) {
  return [EVERYTHING, OF_PRODUCT + level.product_id, OF_VARIANT + level.variant_id];
}

function addressOf({ key, host, port, tls, path }) {
  const query = "protocol=7&client=stock.js&version=1.0&flash=false";
  return `${tls ? "wss" : "ws"}://${host ?? location.hostname}:${port}${path}/app/${key}?${query}`;
}

/** A listener that fails is its owner's business, and nobody else's. */
function call(listener, ...what) {
  try {
    listener(...what);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
