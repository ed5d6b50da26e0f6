// A client of Agnes' stream of events for pages and other programs with WebSocket and fetch. See docs/realtime.md.
//
//   import { connect } from "/ws/client.js";
//   const stream = connect({ topics: ["notifications", "analytics"], onMessage: (m) => console.log(m.type, m) });
//
// It connects again by itself, with growing pauses, and goes on after the last message: what was missed comes then, in
// order and once.

const FIRST_PAUSE = 1000; // ms; doubled with every try, up to LONGEST_PAUSE, and shortened by chance
const LONGEST_PAUSE = 30000;
const SILENCE = 75000; // ms without a frame, pings included, after which a connection counts as lost

const AUTH = 4401;
const REVOKED = 4403;

/**
 * Options:
 *   url        where to connect; /ws/notifications of the server that this file is from
 *   topics     names of topics; ["notifications"]
 *   token      a session or personal access token; a page leaves it out and gets tickets for its session
 *   ticket     async function that gives a ticket, in place of the usual request to /api/events/ticket
 *   resume     the id of the last message that was seen, say in an earlier life of the page
 *   onMessage  is called with every message
 *   onGap      is called with {after, next, reason} where messages are lost for good
 *   onState    is called with "connecting", "open", "waiting", "refused" or "closed", and a reason
 *
 * What it gives: close(), subscribe(topics), and lastId, to be kept where a page wants to resume after a reload.
 */
export function connect(options = {}) {
  return new Stream(options);
}

class Stream {
  constructor(options) {
    this.options = options;
    this.url = options.url ?? new URL("/ws/notifications", import.meta.url).href.replace(/^http/, "ws");
    this.topics = options.topics ?? ["notifications"];
    this.lastId = options.resume ?? "";
    this.tries = 0;
    this.ended = false;
    this.online = () => this.retryNow();
    globalThis.addEventListener?.("online", this.online);
    this.open();
  }

  close() {
    this.end("closed", "");
  }

  subscribe(topics) {
    this.topics = topics;
    if (this.in) this.socket.send(JSON.stringify({ type: "subscribe", topics }));
  }

  async open() {
    this.state("connecting", "");
    let who;
    try {
      who = await this.credential();
    } catch (error) {
      if (error.refused) return this.end("refused", error.message);
      return this.wait(String(error.message ?? error));
    }
    if (this.ended) return;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.in = false;
    this.watch();
    const current = () => this.socket === socket && !this.ended;
    socket.onopen = () => current() && socket.send(JSON.stringify({ type: "auth", ...who, topics: this.topics, ...(this.lastId && { resume: this.lastId }) }));
    socket.onmessage = (event) => current() && this.receive(JSON.parse(event.data));
    socket.onclose = (event) => current() && this.lost(event.code, event.reason);
  }

  async credential() {
    if (this.options.token) return { token: this.options.token };
    if (this.options.ticket) return { ticket: await this.options.ticket() };
    const answer = await fetch(new URL("/api/events/ticket", import.meta.url), { method: "POST", credentials: "same-origin" });
    if (answer.status === 401 || answer.status === 403) throw Object.assign(new Error("sign in first"), { refused: true });
    if (!answer.ok) throw new Error(`no ticket: ${answer.status}`);
    return { ticket: (await answer.json()).ticket };
  }

  receive(message) {
    this.watch();
    switch (message.type) {
      case "ping":
        return this.socket.send('{"type":"pong"}');
      case "auth_ok":
        this.in = true;
        this.tries = 0;
        this.lastId ||= message.id;
        return this.state("open", "");
      case "auth_error":
      case "subscribed":
      case "pong":
        return;
      case "gap":
        this.lastId = message.next;
        return this.options.onGap?.(message);
    }
    if (message.id) {
      if (!after(message.id, this.lastId)) return; // it was seen
      this.lastId = message.id;
    }
    this.options.onMessage?.(message);
  }

  lost(code, reason) {
    clearTimeout(this.silence);
    this.in = false;
    if (code === REVOKED || (code === AUTH && this.options.token)) return this.end("refused", reason);
    this.wait(reason || `closed with ${code}`);
  }

  wait(reason) {
    if (this.ended) return;
    const pause = Math.min(FIRST_PAUSE * 2 ** this.tries++, LONGEST_PAUSE) * (0.5 + Math.random() / 2);
    this.state("waiting", reason);
    this.timer = setTimeout(() => this.retryNow(), pause);
  }

  retryNow() {
    if (this.ended || !this.timer) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.open();
  }

  watch() {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.silence = setTimeout(() => {
      if (this.socket !== socket || this.ended) return;
      this.socket = undefined; // its close event may take minutes
      socket.close();
      this.lost(0, "nothing is heard any more");
    }, SILENCE);
  }

  end(state, reason) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    globalThis.removeEventListener?.("online", this.online);
    this.socket?.close();
    this.state(state, reason);
  }

  state(state, reason) {
    this.options.onState?.(state, reason);
  }
}

// after tells whether a message comes behind the last one that was seen; those of another stream always do.
function after(id, last) {
  const cut = (text) => [text.slice(0, text.lastIndexOf("-")), Number(text.slice(text.lastIndexOf("-") + 1))];
  const [epoch, number] = cut(id);
  const [lastEpoch, lastNumber] = cut(last || "");
  return epoch !== lastEpoch || number > lastNumber;
}
