// Polls the state and fills the page.

import { count, octets, span } from './format.js';
import { Player } from './player.js';
import { Tree } from './tree.js';

const $ = id => document.getElementById(id);
const query = new URLSearchParams(location.search);

const tree = new Tree($('graph'));
const player = new Player($('video'), {
  holdBack: Math.min(Math.max(+query.get('hold') || 3, 1), 10),
  onStatus: text => { message = text; overlay(); },
  onVariants: showQualities,
});
player.height = +query.get('quality') || 0;

let state = null, message = 'Connecting …', chosen = query.get('beacon'), playing = '';
const history = []; // of states, for rates
const RATE_SPAN = 4; // seconds

const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

async function poll() {
  try {
    const answer = await fetch('api/state', { signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(answer.status);
    state = await answer.json();
    state.at = Date.parse(state.time) / 1000;
    if (history.length && state.at < history.at(-1).at) history.length = 0;
    history.push(state);
    while (history.length > 2 && history[1].at < state.at - RATE_SPAN) history.shift();
    show();
  } catch {
    health('The demonstration does not answer. Has it ended?', false);
  }
  setTimeout(poll, 1000);
}

function show() {
  showBeacons();
  showSource();
  const rates = new Map(state.nodes.map(n => [n.name, ratesOf(n)]));
  tree.update(state.nodes, rates, playing);
  showRows();
  overlay();
  const broken = state.nodes.find(n => n.problem);
  if (broken) health(`${broken.name}: ${broken.problem}`, false);
  else if (state.source.kind === 'none') health('no source', false);
  else health(state.nodes.length ? `${state.nodes.length} nodes, all well` : 'no nodes yet', state.nodes.length > 0);
}

function health(text, good) {
  put('health', text);
  $('health').className = `pill ${good ? 'good' : 'bad'}`;
}

/** Rates of a node in bit/s over the last seconds. A counter that has fallen
 *  belongs to a node that has started anew. */
function ratesOf(n) {
  const before = history.find(s => s.nodes.some(o => o.name === n.name)) ?? state;
  const old = before.nodes.find(o => o.name === n.name);
  const seconds = Math.max(state.at - before.at, 0.001);
  const diff = field => Math.max(n[field] - old[field], 0);
  const bits = field => diff(field) * 8 / seconds;
  const packets = diff('packets'), lost = diff('packets_lost');
  return {
    in: bits('octets_in'), out: bits('octets_out'), fec: bits('fec_octets'), repair: bits('repair_octets'), fallback: bits('fallback_octets'),
    packets: packets / seconds, loss: packets + lost ? lost / (packets + lost) : null,
  };
}

function showBeacons() {
  const key = JSON.stringify(state.beacons);
  if (key !== showBeacons.key) {
    showBeacons.key = key;
    const legend = $('beacons').firstElementChild;
    $('beacons').replaceChildren(legend, ...state.beacons.map(b => {
      const label = document.createElement('label'), input = document.createElement('input'), span = document.createElement('span');
      Object.assign(input, { type: 'radio', name: 'beacon', value: b.name });
      input.addEventListener('change', () => { chosen = b.name; start(); });
      span.textContent = b.name;
      label.append(input, span);
      return label;
    }));
  }
  start();
}

/** Plays the first channel from the chosen BEACON, if that is not under way. */
function start() {
  const beacon = state.beacons.find(b => b.name === chosen) ?? state.beacons[0];
  const channel = state.channels[0];
  for (const input of $('beacons').querySelectorAll('input')) input.checked = input.value === beacon?.name;
  if (!beacon || !channel) {
    if (playing) player.stop();
    playing = start.url = '';
    return;
  }
  playing = beacon.name;
  const url = new URL(channel.path, new URL(beacon.url, location.href)).href;
  if (url !== start.url) {
    start.url = url;
    message = `Connecting to ${beacon.name} …`;
    overlay();
    player.play(url);
  }
}

function showQualities(variants) {
  const heights = [...new Set(variants.map(v => v.height))];
  const key = heights.join();
  if (key === showQualities.key) return;
  showQualities.key = key;
  $('quality').replaceChildren(...heights.map((h, i) => {
    const o = document.createElement('option');
    o.value = h;
    o.textContent = `${h} lines`;
    o.selected = h === player.height || (!heights.includes(player.height) && i === 0);
    return o;
  }));
}
$('quality').addEventListener('change', () => { player.height = +$('quality').value; player.play(start.url); });
if (player.native) $('quality').parentElement.hidden = true; // the browser chooses

const KINDS = { clip: 'Built-in clip', ffmpeg: 'FFmpeg', push: 'Pushed from outside', none: 'No source' };

function showSource() {
  const s = state.source, since = Date.parse(s.since) / 1000;
  put('source-kind', KINDS[s.kind] ?? s.kind);
  put('source-since', since > 0 ? `since ${new Date(since * 1000).toLocaleTimeString()}, for ${span(state.at - since)}` : '');
  $('source-reason').hidden = !s.reason;
  put('source-reason', s.reason ?? '');
  $('ingest').hidden = !s.ingest_url && !s.ffmpeg_command;
  put('ingest-url', s.ingest_url ?? '');
  $('command').parentElement.hidden = !s.ffmpeg_command;
  if ($('command').textContent !== (s.ffmpeg_command ?? '')) {
    // A span for each option with its value, so that lines break between them.
    $('command').replaceChildren(...(s.ffmpeg_command ?? '').split(/ (?=-[a-z])/i).flatMap((option, i) => {
      const span = document.createElement('span');
      span.textContent = option;
      return i ? [' ', span] : [span];
    }));
  }
}

/** The text over the picture: why there is none. */
function overlay() {
  let text = message;
  if (state?.source.kind === 'none') {
    // What was on its way when the source ended is still played to its end.
    const stands = $('video').readyState < 3 || $('video').paused;
    if (!player.moved || stands) text = `No source${state.source.reason ? ': ' + state.source.reason : ''}`;
  } else if (state && !state.beacons.length) text = 'No BEACON to play from yet';
  $('overlay').hidden = !text;
  put('overlay', text ?? '');
}

/** Fills the table in place, so that a selection or a reader's position stays. */
function showRows() {
  const names = state.nodes.map(n => n.name).join('\n');
  if (names !== showRows.names) {
    showRows.names = names;
    $('rows').replaceChildren(...state.nodes.map(n => {
      const tr = document.createElement('tr');
      const th = document.createElement('th');
      th.scope = 'row';
      th.textContent = n.name;
      tr.append(th, ...cells(n).map(() => document.createElement('td')));
      return tr;
    }));
  }
  state.nodes.forEach((n, i) => {
    const [head, ...row] = $('rows').children[i].children;
    head.title = n.address ?? '';
    cells(n).forEach(([text, warn], j) => {
      if (row[j].textContent !== text) row[j].textContent = text;
      row[j].className = warn ? 'warn' : '';
    });
  });
}

function cells(n) {
  return [
    [count(n.objects)], [count(n.missing), n.missing > 0], [count(n.packets)], [count(n.packets_lost)],
    [octets(n.multicast_octets)], [octets(n.fec_octets)], [octets(n.repair_octets)], [octets(n.fallback_octets)],
    [octets(n.rejected_octets), n.rejected_octets > 0], [`${octets(n.cache_octets)}, ${count(n.cache_objects)} objects`],
    [n.latency_ms ? `${n.latency_ms.p50.toFixed(1)} / ${n.latency_ms.p99.toFixed(1)} ms` : '–'],
  ];
}

$('copy').addEventListener('click', async () => {
  let done = true;
  try {
    await navigator.clipboard.writeText($('command').textContent);
  } catch { // without permission, or not over HTTPS: select it for the reader
    getSelection().selectAllChildren($('command'));
    done = false;
  }
  put('copy', done ? 'Copied' : 'Press Ctrl+C');
  setTimeout(() => put('copy', 'Copy'), 2000);
});

setInterval(() => {
  const s = player.stats();
  put('fact-latency', s.latency === null ? '–' : `${s.latency.toFixed(1)} s`);
  put('fact-buffer', `${s.buffer.toFixed(1)} s`);
  put('fact-size', s.width ? `${s.width} × ${s.height}` : '–');
  put('fact-dropped', s.dropped === null ? '–' : `${s.dropped} of ${s.frames}`);
  put('fact-stalls', `${s.stalls}`);
}, 500);

poll();
