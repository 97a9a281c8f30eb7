// pusher-js and laravel-echo as they are published, told what to do by lines of JSON, and telling what happens the
// same way. Run by test_realtime_clients.py: `node clients.mjs FOLDER`, where FOLDER has the node_modules.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const Pusher = createRequire(`${folder}/`)("pusher-js");
const { default: Echo } = await import(pathToFileURL(`${folder}/node_modules/laravel-echo/dist/echo.js`));

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
let pusher;
let echo;

/** An attempt that is still to come is a timer of the connection's. */
const willTryAgain = (connection) => Boolean(connection.retryTimer?.isRunning());

function watch(connection) {
  connection.bind("state_change", ({ current }) => tell({ state: current }));
  // Told before the timer runs, and looked at before it can have ended.
  connection.bind("connecting_in", (seconds) =>
    setImmediate(() => tell({ connecting_in: seconds, retries: willTryAgain(connection) })));
  connection.bind("error", ({ error }) => tell({ error: error?.data ?? String(error) }));
}

const DEEDS = {
  pusher({ key, options }) {
    pusher = new Pusher(key, options);
    watch(pusher.connection);
  },
  subscribe({ channel }) {
    pusher.subscribe(channel).bind_global((event, data) => tell({ channel, event, data: plain(data) }));
  },
  trigger({ channel, event, data }) {
    pusher.channel(channel).trigger(event, data);
  },
  signin() {
    pusher.bind_global((event) => event === "pusher:signin_success" && tell({ event }));
    pusher.signin();
  },
  echo({ options }) {
    echo = new Echo({ broadcaster: "reverb", Pusher, withoutInterceptors: true, ...options });
    watch(echo.connector.pusher.connection);
  },
  look_ahead() {
    tell({ looked: true, retries: willTryAgain((echo?.connector.pusher ?? pusher).connection) });
  },
  // Echo puts a dot before names that are not below its App\Events.
  listen({ kind, channel, events }) {
    const heard = echo[kind](channel);
    heard.error((error) => tell({ channel, event: "error", data: plain(error) }));
    heard.subscribed(() => tell({ channel, event: "subscribed" }));
    for (const event of events ?? []) heard.listen(event, (data) => tell({ channel, event, data }));
    if (kind === "join") {
      heard.here((members) => tell({ channel, event: "here", data: members }));
      heard.joining((member) => tell({ channel, event: "joining", data: member }));
      heard.leaving((member) => tell({ channel, event: "leaving", data: member }));
    }
  },
  whisper({ channel, event, data }) {
    echo.private(channel).whisper(event, data);
  },
};

/** What pusher-js hands out may be its own objects. */
function plain(data) {
  return data?.members ? { count: data.count, members: data.members, me: data.me } : data;
}

tell({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...what } = JSON.parse(line);
  DEEDS[name](what);
}
