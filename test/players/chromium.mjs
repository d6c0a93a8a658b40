// A headless Chromium, driven by the DevTools protocol over a pair of pipes: no port, no dependency.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

// What Chromium asks of its maker's hosts only costs time on a closed network.
const flags = [
  '--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars',
  '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic',
  '--disable-extensions', '--disable-breakpad', '--mute-audio', '--autoplay-policy=no-user-gesture-required',
];

const patience = 20_000; // ms for one answer

/** Starts the program file with a profile of its own. */
export async function launch(file, args = []) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'treedn-chromium-'));
  const child = spawn(file, [...flags, `--user-data-dir=${profile}`, ...args, 'about:blank'],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] }); // it reads from 3 and writes to 4
  return new Browser(child, profile);
}

class Browser {
  constructor(child, profile) {
    Object.assign(this, { child, profile, next: 0, waiting: new Map(), listeners: new Map(), stderr: '' });
    child.stderr.on('data', d => { this.stderr = (this.stderr + d).slice(-4000); });
    this.exited = new Promise(resolve => {
      child.once('exit', resolve);
      child.once('error', e => { this.stderr += e; resolve(); });
    });
    this.exited.then(() => this.fail());
    for (const pipe of [child.stdio[3], child.stdio[4]]) pipe.on('error', () => {}); // it has exited
    let rest = '';
    child.stdio[4].setEncoding('utf8').on('data', d => {
      const messages = (rest + d).split('\0');
      rest = messages.pop();
      for (const m of messages) this.receive(JSON.parse(m));
    });
  }

  fail() {
    this.gone = true;
    for (const { reject } of this.waiting.values()) reject(new Error(`Chromium has exited: ${this.stderr}`));
    this.waiting.clear();
  }

  receive(m) {
    if (!m.id) {
      this.listeners.get(`${m.sessionId} ${m.method}`)?.(m.params);
      return;
    }
    const call = this.waiting.get(m.id);
    this.waiting.delete(m.id);
    if (m.error) call?.reject(new Error(`${call.method}: ${m.error.message}`)); else call?.resolve(m.result);
  }

  call(method, params = {}, sessionId) {
    if (this.gone) return Promise.reject(new Error(`Chromium has exited: ${this.stderr}`));
    return new Promise((resolve, reject) => {
      const id = ++this.next;
      const timer = setTimeout(() => reject(new Error(`${method}: no answer within ${patience / 1000} s`)), patience);
      const settled = f => value => { clearTimeout(timer); f(value); };
      this.waiting.set(id, { resolve: settled(resolve), reject: settled(reject), method });
      this.child.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
    });
  }

  /** Opens a tab. Listeners are functions by the names of DevTools events. */
  async open(url, listeners = {}) {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    for (const [event, f] of Object.entries(listeners)) this.listeners.set(`${sessionId} ${event}`, f);
    const page = new Page(this, sessionId);
    const domains = new Set(['Page', ...Object.keys(listeners).map(e => e.split('.')[0])]);
    for (const domain of domains) await page.call(`${domain}.enable`);
    await page.call('Page.navigate', { url });
    return page;
  }

  /** Ends the browser and removes its profile. */
  async close() {
    this.call('Browser.close').catch(() => {});
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await this.exited;
    clearTimeout(timer);
    // Its children may end a little later.
    fs.rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

class Page {
  constructor(browser, session) {
    this.browser = browser;
    this.session = session;
  }

  call(method, params) { return this.browser.call(method, params, this.session); }

  /** The JSON value of a JavaScript expression; a promise is awaited. */
  async evaluate(expression) {
    const { result, exceptionDetails: e } = await this.call('Runtime.evaluate',
      { expression, returnByValue: true, awaitPromise: true, userGesture: true });
    if (e) throw new Error(`${e.text} ${e.exception?.description ?? ''}`);
    return result.value;
  }

  /** The viewport as base64 of a PNG. */
  async screenshot() { return (await this.call('Page.captureScreenshot', { format: 'png' })).data; }
}
