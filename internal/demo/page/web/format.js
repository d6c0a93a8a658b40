// Numbers and times as people read them.

const decimals = v => (v >= 100 ? 0 : v >= 10 ? 1 : 2);

function scaled(v, units) {
  let i = 0;
  while (v >= 999.5 && i < units.length - 1) { v /= 1000; i++; }
  return `${v.toFixed(i === 0 ? 0 : decimals(v))} ${units[i]}`;
}

export const octets = v => scaled(v, ['B', 'kB', 'MB', 'GB', 'TB']);
export const rate = v => scaled(v, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s']);
export const count = v => v.toLocaleString('en');
export const percent = v => `${(v * 100).toFixed(v > 0 && v < 0.0995 ? 1 : 0)} %`;

/** Seconds as "12 s", "3 min 05 s", "2 h 07 min". */
export function span(seconds) {
  const s = Math.max(Math.floor(seconds), 0);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} min`;
}
