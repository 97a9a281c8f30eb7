/** Types of stock.js. See docs/clients.md. */

/** What is known of a variant's stock. */
export interface Level {
  product_id: string;
  variant_id: string;
  sku: string;
  /** Units that can be taken now; null when stock is not tracked. */
  stock_quantity: number | null;
  /** Whether it can be bought now, if need be on backorder. */
  is_in_stock: boolean;
  /** Whether no more than its threshold is left, but not nothing. */
  is_low_stock: boolean;
  /** Counts the movements of this variant's stock. */
  version: number;
  /** When this was so: ISO 8601, UTC. */
  timestamp?: string;
}

export interface Change {
  /**
   * What has happened: the kind of movement (`hold`, `release`, `expire`, `sale`, `receive`, `adjust`, `return`,
   * `damage`); or how this became known: `snapshot`, `resync`, `seed`, `cache`; or `gone`: the variant is not for sale
   * any more.
   */
  reason: string;
  /** What was known before. */
  previous?: Level;
}

export type Listener = (level: Level, change: Change) => void;

/**
 * `idle`: nobody has listened yet, or it was closed. `waiting`: the connection is lost, and will be tried again.
 * `stopped`: the server does not want this client (close codes 4000 to 4099): nothing more will come.
 */
export type State = "idle" | "connecting" | "connected" | "waiting" | "stopped";

export interface StateDetail {
  state: State;
  previous: State;
  /** The WebSocket's close code; with `waiting` and `stopped`. */
  code?: number;
  /** What the server said, if anything; with `waiting` and `stopped`. */
  message?: string;
  /** Milliseconds until the next attempt; with `waiting`, unless the page is put aside. */
  retryIn?: number;
}

export interface ErrorDetail {
  /** A code of the protocol; not of a subscription. */
  code?: number | null;
  message?: string;
  /** Of a subscription that was refused. */
  channel?: string;
  type?: string;
  error?: string;
  status?: number;
}

/** How to reach the server: what `GET /api/v1/realtime/config` answers. */
export interface Server {
  key: string;
  port: number;
  /** The page's own, if null or left out. */
  host?: string | null;
  tls?: boolean;
  /** What comes before `/app/{key}`. */
  path?: string;
}

export interface Options extends Partial<Server> {
  /** Asked where the server is, unless `key` is given. Default: `/api/v1/realtime/config`. */
  configUrl?: string;
  /** Asked for leave to be among those who look at a product. Default: `/broadcasting/auth`. */
  authUrl?: string;
  /** Sent with that: `{ "X-Cart-Token": token }`, so that all windows of a visitor count as one. Default: none. */
  authHeaders?: Record<string, string>;
  /** Milliseconds: before the second attempt, at most. Doubles with each failure. Default: 1000. */
  minDelay?: number;
  /** Milliseconds: between two attempts, at most. Default: 30000. */
  maxDelay?: number;
  /** Milliseconds: for one attempt. Default: 10000. */
  connectTimeout?: number;
  /** Milliseconds: for the server to answer a ping. Default: 10000. */
  pongTimeout?: number;
  /** Where to keep levels between two pages: `sessionStorage`, for instance. Default: nowhere. */
  storage?: Pick<Storage, "getItem" | "setItem"> | null;
  /** Default: `commerce.stock`. */
  storageKey?: string;
  /** Milliseconds: levels in the storage that are older are forgotten. Default: half an hour. */
  maxAge?: number;
  /** Instead of the page's own. */
  WebSocket?: new (address: string) => WebSocket;
  /** Instead of the page's own. */
  fetch?: typeof fetch;
}

export interface StockEvents {
  state: CustomEvent<StateDetail>;
  level: CustomEvent<{ level: Level } & Change>;
  /** A product that is listened to looks different now: its price, its name. Ask for it again. */
  product: CustomEvent<{ product_id: string }>;
  error: CustomEvent<ErrorDetail>;
}

/** A connection to the shop, made with the first subscription. */
export class Stock extends EventTarget {
  constructor(options?: Options);
  readonly state: State;
  /** Hear of a product's variants. Returns a function that ends it. */
  product(id: string, listener: Listener): () => void;
  /** Hear of one variant. Returns a function that ends it. */
  variant(id: string, listener: Listener): () => void;
  /** Hear of everything in the shop. Returns a function that ends it. */
  everything(listener: Listener): () => void;
  /** Hear that something in the catalogue looks different now: ask what. Returns a function that ends it. */
  catalogue(listener: () => void): () => void;
  /**
   * Be one of those who look at a product, and hear how many that are, oneself among them; where the shop has
   * `realtime.presence`. Returns a function that ends it.
   */
  looking(id: string, listener: (count: number) => void): () => void;
  /** What is known of a variant, if anything. */
  get(variantId: string): Level | undefined;
  /** Tell what is known from elsewhere: the page itself, or an answer of the API. Older news is dropped here, too. */
  seed(levels: Iterable<Level>): void;
  /** Disconnect, and forget everybody who listens. A new subscription connects again. */
  close(): void;
  addEventListener<Name extends keyof StockEvents>(
    name: Name,
    listener: (event: StockEvents[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof StockEvents>(
    name: Name,
    listener: (event: StockEvents[Name]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    name: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
