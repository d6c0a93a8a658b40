// HLS playlists (RFC 8216), as far as a live player needs them.

/** Splits NAME=value,NAME="value" into an object. */
function attributes(s) {
  const out = {};
  for (const [, name, quoted, plain] of s.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^",]*))/g)) out[name] = quoted ?? plain;
  return out;
}

/** Reads a multivariant playlist: variants from the best down, each with its
 *  URL, codecs and, if the sound is apart, the URL of the audio playlist. */
export function parseMaster(text, url) {
  if (!text.startsWith('#EXTM3U')) throw new Error('not a playlist: ' + url);
  const audio = {}, variants = [];
  let stream = null;
  for (const line of text.split('\n').map(l => l.trim())) {
    if (line.startsWith('#EXT-X-MEDIA:')) {
      const a = attributes(line.slice(13));
      if (a.TYPE === 'AUDIO' && a.URI && (!audio[a['GROUP-ID']] || a.DEFAULT === 'YES')) audio[a['GROUP-ID']] = new URL(a.URI, url).href;
    } else if (line.startsWith('#EXT-X-STREAM-INF:')) {
      stream = attributes(line.slice(18));
    } else if (line && line[0] !== '#' && stream) {
      variants.push({
        url: new URL(line, url).href, audio: audio[stream.AUDIO] ?? null, group: stream.AUDIO,
        codecs: (stream.CODECS ?? '').split(',').map(c => c.trim()).filter(Boolean),
        height: +(stream.RESOLUTION ?? '').split('x')[1] || 0, bandwidth: +stream.BANDWIDTH || 0,
      });
      stream = null;
    }
  }
  for (const v of variants) v.audio ??= audio[v.group] ?? null; // EXT-X-MEDIA may come last
  return variants.sort((a, b) => b.height - a.height || b.bandwidth - a.bandwidth);
}

/** Reads a media playlist. Segments have a number, URL, map, duration and, where
 *  the playlist tells, the wall-clock time of their start in ms. */
export function parseMedia(text, url) {
  if (!text.startsWith('#EXTM3U')) throw new Error('not a playlist: ' + url);
  const list = { first: 0, target: 2, ended: false, segments: [] };
  let duration = 0, time = null, map = null, range = null, discontinuity = false;
  for (const line of text.split('\n').map(l => l.trim())) {
    const value = line.slice(line.indexOf(':') + 1);
    if (line.startsWith('#EXT-X-MEDIA-SEQUENCE:')) list.first = +value;
    else if (line.startsWith('#EXT-X-TARGETDURATION:')) list.target = +value || 2;
    else if (line.startsWith('#EXT-X-MAP:')) map = new URL(attributes(value).URI, url).href;
    else if (line.startsWith('#EXT-X-BYTERANGE:')) range = value;
    else if (line.startsWith('#EXTINF:')) duration = parseFloat(value);
    else if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) time = Date.parse(value.replace(/([+-]\d\d)(\d\d)$/, '$1:$2'));
    else if (line === '#EXT-X-DISCONTINUITY') discontinuity = true;
    else if (line === '#EXT-X-ENDLIST') list.ended = true;
    else if (line && line[0] !== '#') {
      if (range) throw new Error('byte ranges are not supported');
      list.segments.push({ number: list.first + list.segments.length, url: new URL(line, url).href, map, duration, time, discontinuity });
      if (time !== null) time += duration * 1000;
      discontinuity = false;
    }
  }
  list.last = list.first + list.segments.length - 1;
  return list;
}
