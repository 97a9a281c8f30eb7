// stock.js against a server that does as it is told. Run by test_realtime_stock_js.py: `node --test`.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Stock } from "../../commerce_realtime/static/stock.js";

const SERVER = { key: "shop", host: "shop.example", port: 6001 };
const [PRODUCT, VARIANT, OTHER] = ["product-1", "variant-1", "variant-2"];
let sockets;

/** The other end of a WebSocket. */
class FakeSocket {
  constructor(address) {
    this.address = address;
    this.sent = [];
    this.isClosed = false;
    sockets.push(this);
  }
  send(text) {
    const { event, data } = JSON.parse(text);
    this.sent.push(data.channel ? `${event} ${data.channel}` : event);
  }
  close() {
    this.isClosed = true;
  }
  tell(event, data, channel) {
    this.onmessage({ data: JSON.stringify({ event, channel, data: JSON.stringify(data) }) });
  }
  welcome() {
    this.tell("pusher:connection_established", { socket_id: "1.1", activity_timeout: 30 });
  }
  snapshot(channel, levels, more) {
    this.tell("inventory.snapshot", { levels, ...more }, channel);
  }
  update(level) {
    this.tell("inventory.updated", { ...level, previous_quantity: 0, change_reason: "hold" }, "inventory");
  }
}

function level(version, quantity, more = {}) {
  return {
    product_id: PRODUCT, variant_id: VARIANT, sku: "S", stock_quantity: quantity, is_in_stock: quantity > 0,
    is_low_stock: false, version, timestamp: "2026-01-01T00:00:00.000Z", ...more,
  };
}

function opened(options) {
  const stock = new Stock({ ...SERVER, WebSocket: FakeSocket, ...options });
  const told = [];
  const states = [];
  stock.addEventListener("state", ({ detail }) => states.push(detail));
  const listen = ({ variant_id, version, stock_quantity }, { reason }) =>
    told.push([variant_id, version, stock_quantity, reason]);
  return { stock, told, states, listen };
}

/** Connected and subscribed to the product. */
function connected(options) {
  const all = opened(options);
  const stop = all.stock.product(PRODUCT, all.listen);
  sockets[0].welcome();
  return { ...all, stop, socket: sockets[0] };
}

beforeEach(() => {
  sockets = [];
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  mock.method(performance, "now", () => Date.now());
  mock.method(Math, "random", () => 0.5);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});
const tick = (milliseconds) => mock.timers.tick(milliseconds);
const microtasks = () => new Promise((resolve) => setImmediate(resolve));

test("it connects with the first subscription, and subscribes once for all who listen", () => {
  const { stock, listen } = opened();
  assert.equal(stock.state, "idle");
  assert.equal(sockets.length, 0);
  const stops = [stock.product(PRODUCT, listen), stock.product(PRODUCT, listen), stock.variant(VARIANT, listen)];
  const [socket] = sockets;
  assert.equal(socket.address, "ws://shop.example:6001/app/shop?protocol=7&client=stock.js&version=1.0&flash=false");
  socket.welcome();
  assert.equal(stock.state, "connected");
  stock.everything(listen);
  stops[0]();
  stops[0]();
  stops[1]();
  assert.deepEqual(socket.sent, [
    "pusher:subscribe inventory.product.product-1",
    "pusher:subscribe inventory.variant.variant-1",
    "pusher:subscribe inventory",
    "pusher:unsubscribe inventory.product.product-1",
  ]);
  assert.equal(sockets.length, 1);
});

test("the shop says where its server is", async () => {
  const { stock, states, listen } = opened({
    key: undefined,
    fetch: async (address) => {
      assert.equal(address, "/api/v1/realtime/config");
      return { ok: true, json: async () => ({ key: "k", host: "ws.example", port: 443, tls: true, path: "/live" }) };
    },
  });
  stock.product(PRODUCT, listen);
  await microtasks();
  assert.match(sockets[0].address, /^wss:\/\/ws\.example:443\/live\/app\/k\?/);
  assert.deepEqual(states.map(({ state }) => state), ["connecting"]);
});

test("without a name of its own the server is where the shop is, which need not be the page's host", async () => {
  const url = "https://shop.example:8443/api/v1/realtime/config";
  const { stock, listen } = opened({
    key: undefined,
    configUrl: url,
    fetch: async () => ({ ok: true, url, json: async () => ({ key: "k", host: null, port: 443, tls: true, path: "" }) }),
  });
  stock.product(PRODUCT, listen);
  await microtasks();
  assert.match(sockets[0].address, /^wss:\/\/shop\.example:443\/app\/k\?/);
});

test("a shop that does not say where its server is gets asked again", async () => {
  let asked = 0;
  const { stock, listen } = opened({ key: undefined, fetch: async () => ({ ok: false, status: (asked += 1) && 503 }) });
  stock.product(PRODUCT, listen);
  await microtasks();
  assert.equal(stock.state, "waiting");
  tick(500);
  await microtasks();
  assert.equal(asked, 2);
});

test("of news of one variant, whatever its channel, only what is newer is told", () => {
  const { socket, told, stock } = connected();
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(3, 7)]);
  socket.update(level(5, 5));
  socket.update(level(5, 5));
  socket.update(level(4, 6));
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(4, 6)]);
  socket.update(level(6, 4));
  assert.deepEqual(told, [
    [VARIANT, 3, 7, "snapshot"],
    [VARIANT, 5, 5, "hold"],
    [VARIANT, 6, 4, "hold"],
  ]);
  assert.equal(stock.get(VARIANT).stock_quantity, 4);
  assert.ok(!("change_reason" in stock.get(VARIANT)));
});

test("a snapshot may say more about a version that is known, and the page may say what it was made with", () => {
  const { socket, told, stock } = connected();
  stock.seed([level(3, 7)]);
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(3, 7)]);
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(3, 7, { is_low_stock: true })]);
  stock.seed([level(2, 9)]);
  assert.deepEqual(told, [
    [VARIANT, 3, 7, "seed"],
    [VARIANT, 3, 7, "snapshot"],
  ]);
});

test("what a snapshot leaves out is gone, unless it is not complete", () => {
  const { socket, told, stock } = connected();
  const channel = `inventory.product.${PRODUCT}`;
  socket.snapshot(channel, [level(1, 7), level(1, 3, { variant_id: OTHER })]);
  socket.snapshot("inventory", [], { complete: false });
  socket.snapshot("inventory.product.another", []);
  told.length = 0;
  socket.snapshot(channel, [level(1, 7)]);
  assert.deepEqual(told, [[OTHER, 1, 0, "gone"]]);
  assert.equal(stock.get(OTHER), undefined);
  socket.snapshot(channel, [level(1, 7), level(1, 3, { variant_id: OTHER })]);
  assert.deepEqual(told.at(-1), [OTHER, 1, 3, "snapshot"]);
});

test("who listens late is told what is known", async () => {
  const { socket, stock } = connected();
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(1, 7)]);
  const late = [];
  stock.variant(VARIANT, (known, change) => late.push([known.stock_quantity, change.reason]));
  const stop = stock.variant(VARIANT, () => assert.fail("has gone already"));
  stop();
  await microtasks();
  assert.deepEqual(late, [[7, "cache"]]);
});

test("levels are kept between two pages, for a while", async () => {
  const content = new Map();
  const storage = { getItem: (key) => content.get(key) ?? null, setItem: (key, value) => content.set(key, value) };
  const { socket, stock } = connected({ storage });
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(3, 7)]);
  tick(300);
  const next = opened({ storage });
  next.stock.product(PRODUCT, next.listen);
  next.stock.seed([level(2, 9)]);
  await microtasks();
  assert.deepEqual(next.told, [[VARIANT, 3, 7, "cache"]]);
  stock.close();
  tick(31 * 60_000);
  assert.equal(opened({ storage }).stock.get(VARIANT), undefined);
  content.set("commerce.stock", "{nonsense");
  assert.equal(opened({ storage }).stock.get(VARIANT), undefined);
  const full = { getItem: () => null, setItem: () => { throw new Error("full"); } };
  const other = opened({ storage: full });
  other.stock.seed([level(1, 1)]);
  tick(300);
  assert.equal(other.stock.get(VARIANT).version, 1);
});

test("after a failure it waits, twice as long each time, at random, and up to a limit", () => {
  const { states } = connected({ maxDelay: 5_000 });
  const waits = [];
  for (let failure = 0; failure < 5; failure += 1) {
    sockets.at(-1).onclose({ code: 1006 });
    const { state, retryIn } = states.at(-1);
    assert.equal(state, "waiting");
    waits.push(retryIn);
    tick(retryIn - 1);
    assert.equal(sockets.length, failure + 1);
    tick(1);
    assert.equal(sockets.length, failure + 2);
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 2_500, 2_500]);
});

test("once connected again it subscribes again; and the first failure after a good while is the first again", () => {
  const { socket, states, told } = connected();
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(3, 7)]);
  socket.onclose({ code: 1006 });
  tick(500);
  const [, second] = sockets;
  second.onclose({ code: 1006 });
  tick(1_000);
  const third = sockets[2];
  third.welcome();
  assert.deepEqual(third.sent, ["pusher:subscribe inventory.product.product-1"]);
  third.snapshot(`inventory.product.${PRODUCT}`, [level(9, 1)]);
  assert.deepEqual(told.at(-1), [VARIANT, 9, 1, "snapshot"]);
  socket.update(level(10, 0)); // of a socket that was given up
  assert.deepEqual(told.at(-1), [VARIANT, 9, 1, "snapshot"]);
  tick(6_000);
  third.onclose({ code: 1006 });
  assert.equal(states.at(-1).retryIn, 500);
});

test("codes 4000 to 4099 are final, and say why", () => {
  for (const code of [4000, 4001, 4009, 4099]) {
    sockets = [];
    const { socket, states, stock, listen } = connected();
    socket.tell("pusher:error", { code, message: "No." });
    socket.onclose({ code });
    assert.deepEqual(states.at(-1), { state: "stopped", previous: "connected", code, message: "No." });
    stock.variant(VARIANT, listen);
    tick(10 * 60_000);
    assert.equal(sockets.length, 1);
  }
});

test("codes from 4100 on, and all others, are not", () => {
  for (const [code, wait] of [[4200, 125], [4299, 125], [4100, 1_500], [4301, 15_000], [1001, 500], [1006, 500]]) {
    sockets = [];
    const { socket, states, stock } = connected();
    socket.onclose({ code });
    assert.deepEqual([code, states.at(-1).state, states.at(-1).retryIn], [code, "waiting", wait]);
    tick(wait);
    assert.equal(sockets.length, 2);
    stock.close();
  }
});

test("a server that sends it away again and again is not asked at once each time", () => {
  const { states } = connected();
  for (const wait of [125, 1_000, 2_000]) {
    sockets.at(-1).welcome();
    sockets.at(-1).onclose({ code: 4200 });
    assert.equal(states.at(-1).retryIn, wait);
    tick(wait);
  }
});

test("after a silence it asks, and gives a server up that does not answer", () => {
  const { socket, states } = connected();
  tick(29_000);
  socket.tell("pusher:ping", {});
  assert.equal(socket.sent.at(-1), "pusher:pong");
  tick(30_000);
  assert.equal(socket.sent.at(-1), "pusher:ping");
  socket.tell("pusher:pong", {});
  tick(30_000);
  tick(9_999);
  assert.equal(states.at(-1).state, "connected");
  tick(1);
  assert.equal(states.at(-1).state, "waiting");
  assert.ok(socket.isClosed);
});

test("an attempt that takes too long is given up", () => {
  const { stock, listen, states } = opened();
  stock.product(PRODUCT, listen);
  tick(10_000);
  assert.deepEqual([states.at(-1).state, states.at(-1).code], ["waiting", 1006]);
  assert.ok(sockets[0].isClosed);
});

test("an address that no socket can be made for is an attempt that failed", async () => {
  const broken = class {
    constructor() {
      throw new SyntaxError("not an address");
    }
  };
  const { stock, listen } = opened({ WebSocket: broken });
  stock.product(PRODUCT, listen);
  assert.equal(stock.state, "waiting");
  stock.close();
});

test("who fails while listening disturbs nobody else", async (context) => {
  const uncaught = [];
  context.mock.method(globalThis, "queueMicrotask", (task) => uncaught.push(task));
  const { socket, stock, told } = connected();
  stock.product(PRODUCT, () => {
    throw new Error("mine");
  });
  stock.product(PRODUCT, (known) => told.push(known.version));
  uncaught.length = 0;
  socket.snapshot(`inventory.product.${PRODUCT}`, [level(1, 7)]);
  assert.equal(told.at(-1), 1);
  assert.throws(uncaught[0], /mine/);
});

test("what others send in these channels, and what is refused, does no harm", () => {
  const { socket, stock, told } = connected();
  const errors = [];
  stock.addEventListener("error", ({ detail }) => errors.push(detail));
  socket.onmessage({ data: JSON.stringify({ event: "greeting", channel: "inventory", data: "hello" }) });
  socket.onmessage({
    data: JSON.stringify({
      event: "pusher:subscription_error", channel: "inventory.product.?", data: { type: "InvalidChannel", status: 400 },
    }),
  });
  assert.deepEqual(errors, [{ type: "InvalidChannel", status: 400, channel: "inventory.product.?" }]);
  assert.deepEqual(told, []);
});

test("closed, it is silent, and can be opened again", () => {
  const { socket, stock, told, listen, states } = connected();
  stock.close();
  assert.ok(socket.isClosed);
  socket.update(level(1, 7));
  socket.onclose({ code: 1005 });
  tick(60_000);
  assert.deepEqual(told, []);
  assert.equal(sockets.length, 1);
  assert.equal(states.at(-1).state, "idle");
  stock.product(PRODUCT, listen);
  sockets[1].welcome();
  assert.deepEqual(sockets[1].sent, ["pusher:subscribe inventory.product.product-1"]);
});

test("it tells of a changed catalogue", () => {
  const { stock, socket } = connected();
  let told = 0;
  const products = [];
  stock.catalogue(() => { told += 1; });
  stock.addEventListener("product", ({ detail }) => products.push(detail.product_id));
  assert.equal(socket.sent.at(-1), "pusher:subscribe catalogue");
  socket.tell("catalogue.updated", {}, "catalogue");
  socket.tell("product.updated", { product_id: PRODUCT }, `inventory.product.${PRODUCT}`);
  assert.deepEqual([told, products], [1, [PRODUCT]]);
});

test("it counts who looks at a product, with leave to do so, and anew after a reconnection", async () => {
  const asked = [];
  const ask = async (address, { body, headers }) => {
    asked.push([address, String(body), headers]);
    return { ok: true, json: async () => ({ auth: "shop:abc", channel_data: "{}" }) };
  };
  const { stock, socket } = connected({ fetch: ask, authHeaders: { "X-Cart-Token": "t" } });
  const counts = [];
  const channel = `presence-product.${PRODUCT}`;
  const stop = stock.looking(PRODUCT, (count) => counts.push(count));
  await microtasks();
  const body = `socket_id=1.1&channel_name=${channel}`;
  assert.deepEqual(asked, [["/broadcasting/auth", body, { "X-Cart-Token": "t" }]]);
  assert.equal(socket.sent.at(-1), `pusher:subscribe ${channel}`);
  socket.tell("pusher_internal:subscription_succeeded", { presence: { count: 2, ids: ["a", "b"], hash: {} } }, channel);
  socket.tell("pusher_internal:member_added", { user_id: "c" }, channel);
  socket.tell("pusher_internal:member_added", { user_id: "c" }, channel);
  socket.tell("pusher_internal:member_removed", { user_id: "a" }, channel);
  assert.deepEqual(counts, [2, 3, 3, 2]);
  socket.onclose({ code: 4200 });
  tick(250);
  sockets[1].welcome();
  await microtasks();
  assert.equal(sockets[1].sent.at(-1), `pusher:subscribe ${channel}`);
  stop();
  assert.equal(sockets[1].sent.at(-1), `pusher:unsubscribe ${channel}`);
  sockets[1].tell("pusher_internal:subscription_succeeded", { presence: { count: 9, ids: ["a"], hash: {} } }, channel);
  assert.equal(counts.length, 4);
});

test("who may not look is told why", async () => {
  const { stock } = connected({ fetch: async () => ({ ok: false, status: 403 }) });
  const errors = [];
  stock.addEventListener("error", ({ detail }) => errors.push(detail));
  stock.looking(PRODUCT, () => {});
  await microtasks();
  assert.deepEqual(errors, [
    { channel: `presence-product.${PRODUCT}`, type: "AuthError", error: "/broadcasting/auth answers 403" },
  ]);
});
