// Draws the tree as SVG. The drawing is made anew when nodes come or go or the
// space changes, and otherwise only filled with new numbers.

import { count, octets, percent, rate } from './format.js';

const NS = 'http://www.w3.org/2000/svg';
const WIDTH = 226, HEIGHT = 186, GAP = 20;

function el(parent, name, attributes = {}, text) {
  const e = document.createElementNS(NS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

const WAYS = [['multicast', 'multicast_octets'], ['fec', 'fec_octets'], ['repair', 'repair_octets'], ['fallback', 'fallback_octets']];

export class Tree {
  constructor(container) {
    this.container = container;
    this.shape = '';
    new ResizeObserver(() => this.last && this.update(...this.last)).observe(container);
  }

  /** nodes as in the state; rates maps a name to rates per second; playing is
   *  the name of the node that the picture comes from. */
  update(nodes, rates, playing) {
    this.last = [nodes, rates, playing];
    const width = this.container.clientWidth;
    if (!width) return;
    const shape = JSON.stringify([width, nodes.map(n => [n.name, n.parent, n.role])]);
    if (shape !== this.shape) { this.shape = shape; this.draw(nodes, width); }
    for (const n of nodes) this.fill(n, rates.get(n.name), n.name === playing);
    this.svg.setAttribute('aria-label', 'The tree: ' + nodes.map(n => `${n.name}${n.parent ? ' below ' + n.parent : ''}${n.problem ? ', ' + n.problem : ''}`).join('; '));
  }

  draw(nodes, width) {
    const byName = new Map(nodes.map(n => [n.name, { ...n, children: [] }]));
    const roots = [];
    for (const n of byName.values()) {
      const parent = n.parent !== n.name && byName.get(n.parent);
      (parent ? parent.children : roots).push(n);
    }
    // Depth and place across: leaves take one lane each, parents the middle.
    let lanes = 0, depth = 0;
    const place = (n, d) => {
      if (n.placed) return;
      n.placed = true;
      n.depth = d;
      depth = Math.max(depth, d);
      n.children.forEach(c => place(c, d + 1));
      const inner = n.children.filter(c => c.lane !== undefined);
      n.lane = inner.length ? (inner[0].lane + inner.at(-1).lane) / 2 : lanes++;
    };
    roots.forEach(r => place(r, 0));
    for (const n of byName.values()) if (!n.placed) place(n, 0); // a loop: no root above

    const across = (depth + 1) * WIDTH + depth * 110 <= width; // from left to right, else down
    const step = across ? (width - WIDTH) / Math.max(depth, 1) : HEIGHT + 62;
    const lane = across ? HEIGHT + GAP : Math.max(width / Math.max(lanes, 1), 0);
    const scale = across ? 1 : Math.min(1, (lane - 8) / WIDTH);
    for (const n of byName.values()) {
      n.x = across ? n.depth * Math.min(step, WIDTH + 260) : lane * (n.lane + 0.5) - WIDTH * scale / 2;
      n.y = across ? n.lane * lane : n.depth * step * Math.max(scale, 0.75);
    }
    const height = Math.max(...[...byName.values()].map(n => n.y), 0) + HEIGHT * scale;
    const used = Math.max(...[...byName.values()].map(n => n.x), 0) + WIDTH * scale;
    const shift = Math.max((width - used) / 2, 0) * (across ? 1 : 0);

    this.svg?.remove();
    this.svg = el(this.container, 'svg', { width, height: height + 4, viewBox: `0 -2 ${width} ${height + 4}`, role: 'img' });
    this.views = new Map();
    for (const n of byName.values()) { n.x += shift; this.views.set(n.name, {}); }
    for (const n of byName.values()) for (const c of n.children) this.drawEdge(n, c, across, scale);
    for (const n of byName.values()) this.drawNode(n, scale);
  }

  drawEdge(from, to, across, scale) {
    const w = WIDTH * scale, h = HEIGHT * scale;
    const a = across ? [from.x + w, from.y + h / 2] : [from.x + w / 2, from.y + h];
    const b = across ? [to.x, to.y + h / 2] : [to.x + w / 2, to.y];
    const m = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const line = (o) => across
      ? `M${a[0]} ${a[1] + o}C${m[0]} ${a[1] + o} ${m[0]} ${b[1] + o} ${b[0]} ${b[1] + o}`
      : `M${a[0] + o} ${a[1]}C${a[0] + o} ${m[1]} ${b[0] + o} ${m[1]} ${b[0] + o} ${b[1]}`;
    const g = el(this.svg, 'g', { class: 'edge' });
    el(g, 'path', { d: line(0) });
    el(g, 'path', { d: line(0), class: 'flow' });
    el(g, 'path', { d: line(9), class: 'unicast' });
    const back = el(g, 'rect', { x: m[0] - 46, width: 92, rx: 6 });
    const label = el(g, 'text', { x: m[0] });
    const loss = el(g, 'text', { x: m[0], y: m[1] + 14, class: 'loss' });
    Object.assign(this.views.get(to.name), { edge: g, back, label, loss, middle: m[1] });
  }

  drawNode(n, scale) {
    const g = el(this.svg, 'g', { class: 'node', transform: `translate(${n.x} ${n.y}) scale(${scale})` });
    el(g, 'rect', { class: 'box', x: 1, y: 1, width: WIDTH - 2, height: HEIGHT - 2, rx: 12 });
    el(g, 'text', { class: 'name', x: 14, y: 25 }, n.name);
    const role = el(g, 'text', { class: 'role value', x: WIDTH - 14, y: 25 }, n.role);
    const v = Object.assign(this.views.get(n.name), { node: g, role, values: {} });
    const rows = n.role === 'cast'
      ? ['in', 'out', 'objects', 'packets', 'cache']
      : ['in', 'out', 'lost', 'recovered', 'latency', 'cache'];
    rows.forEach((key, i) => {
      v.values[key] = { key: el(g, 'text', { class: 'key', x: 14, y: 46 + i * 19 }, key), value: el(g, 'text', { class: 'value', x: WIDTH - 14, y: 46 + i * 19 }) };
    });
    const bar = y => el(g, 'rect', { class: 'track', x: 14, y, width: WIDTH - 28, height: 6, rx: 3 });
    // The upper bar shows how the octets came, the lower one the cache.
    if (n.role !== 'cast') bar(HEIGHT - 28);
    v.ways = WAYS.map(([way]) => el(g, 'rect', { class: way, x: 14, y: HEIGHT - 28, width: 0, height: 6 }));
    bar(HEIGHT - 17);
    v.cache = el(g, 'rect', { class: 'cache', x: 14, y: HEIGHT - 17, width: 0, height: 6, rx: 3 });
    v.title = el(g, 'title');
  }

  fill(n, r, playing) {
    const v = this.views.get(n.name), inner = WIDTH - 28;
    v.node.setAttribute('class', `node${r.in + r.out > 0 ? ' active' : ''}${n.problem ? ' broken' : playing ? ' playing' : ''}`);
    v.role.textContent = n.problem ? 'in trouble' : playing ? '▶ playing' : n.role;
    v.role.setAttribute('class', `value ${n.problem ? 'problem' : 'role'}`);
    v.title.textContent = [n.name, n.address, n.problem].filter(Boolean).join(': ');
    const set = (key, text, bad) => {
      const row = v.values[key];
      if (!row) return;
      row.value.textContent = text;
      row.value.setAttribute('class', `value${bad ? ' lossy' : ''}`);
    };
    set('in', rate(r.in));
    set('out', rate(r.out));
    set('objects', count(n.objects));
    set('packets', `${r.packets.toFixed(0)} /s`);
    set('latency', n.latency_ms ? `${n.latency_ms.p50.toFixed(1)} ms` : '–');
    set('cache', n.cache_limit ? `${octets(n.cache_octets)} of ${octets(n.cache_limit)}` : octets(n.cache_octets));
    set('lost', r.loss === null ? '–' : percent(r.loss), r.loss > 0);
    set('recovered', rate(r.fec + r.repair + r.fallback));

    const total = WAYS.reduce((sum, [, field]) => sum + n[field], 0);
    let x = 14;
    WAYS.forEach(([, field], i) => {
      const w = total ? n[field] / total * inner : 0;
      v.ways[i].setAttribute('x', x);
      v.ways[i].setAttribute('width', w);
      x += w;
    });
    const fill = n.cache_limit ? Math.min(n.cache_octets / n.cache_limit, 1) : 0;
    v.cache.setAttribute('width', n.cache_octets ? Math.max(fill * inner, 2) : 0);

    if (v.edge) {
      v.edge.setAttribute('class', `edge${r.in > 0 ? ' on' : ''}${r.repair + r.fallback > 0 ? ' helped' : ''}`);
      v.label.textContent = rate(r.in);
      v.loss.textContent = n.injected_loss ? `drops ${percent(n.injected_loss)}` : '';
      const half = n.injected_loss ? 19 : 11;
      v.back.setAttribute('y', v.middle - half);
      v.back.setAttribute('height', 2 * half);
      v.label.setAttribute('y', v.middle + (n.injected_loss ? -3 : 4));
    }
  }
}
