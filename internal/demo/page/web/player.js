// A small live player: HLS playlists in, Media Source Extensions out.

import { parseMaster, parseMedia } from './hls.js';

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;

const sleep = (ms, signal) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const stop = () => { clearTimeout(timer); reject(signal.reason); };
  const timer = setTimeout(() => { signal.removeEventListener('abort', stop); resolve(); }, ms);
  signal.addEventListener('abort', stop, { once: true });
});

const once = (target, type, signal) => new Promise((resolve, reject) => {
  signal.throwIfAborted();
  const stop = () => reject(signal.reason);
  target.addEventListener(type, () => { signal.removeEventListener('abort', stop); resolve(); }, { once: true });
  signal.addEventListener('abort', stop, { once: true });
});

async function get(url, signal, what) {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(10_000)]);
  let answer;
  try {
    answer = await fetch(url, { signal: limit, cache: 'no-cache' });
  } catch (e) {
    signal.throwIfAborted();
    throw new Error(e.name === 'TimeoutError' ? `no ${what} within 10 s` : `no answer for the ${what}`);
  }
  if (!answer.ok) throw Object.assign(new Error(`${what}: ${answer.status} ${answer.statusText}`.trim()), { status: answer.status });
  return answer;
}

/** Thrown to begin anew at the live edge, with no fault to report. */
class Restart extends Error {}

/** One SourceBuffer and the playlist that feeds it. */
class Track {
  constructor(kind, url, type) {
    // next is the number of the next segment, due the wall-clock time it
    // should begin at, if known.
    Object.assign(this, { kind, url, type, list: null, next: null, due: null, map: null, buffer: null });
  }

  async refresh(signal) {
    const answer = await get(this.url, signal, `${this.kind} playlist`);
    this.list = parseMedia(await answer.text(), this.url);
  }

  /** Appends data, with the oldest media removed if there is no room. */
  async append(data, video, signal) {
    for (let attempt = 0; ; attempt++) {
      try {
        this.buffer.appendBuffer(data);
        break;
      } catch (e) {
        if (e.name !== 'QuotaExceededError' || attempt > 0) throw e;
        await this.trim(Math.max(video.currentTime - 2, 0.1), signal);
      }
    }
    await once(this.buffer, 'updateend', signal);
  }

  async trim(before, signal) {
    if (!this.buffer.buffered.length || this.buffer.buffered.start(0) >= before) return;
    this.buffer.remove(0, before);
    await once(this.buffer, 'updateend', signal);
  }

  end() {
    const b = this.buffer.buffered;
    return b.length ? b.end(b.length - 1) : 0;
  }
}

export class Player {
  /** holdBack is the distance from the live edge, in segments. onStatus is
   *  called with a message for the viewer, or null when all is well. */
  constructor(video, { holdBack = 3, onStatus = () => {}, onVariants = () => {} } = {}) {
    Object.assign(this, { video, holdBack, onStatus, onVariants });
    this.native = !Source;
    this.height = 0; // wanted; 0: the best
    this.stalls = 0;
    this.offset = null; // wall clock minus media time, in ms
    video.addEventListener('waiting', () => { if (this.moved && !video.seeking) this.stalls++; });
    video.addEventListener('timeupdate', () => {
      if (!this.moved && video.currentTime > this.from) { this.moved = true; this.onStatus(null); }
    });
    // The user pauses, the live edge does not: go back to it.
    video.addEventListener('play', () => { if (this.tracks && this.ahead() > 4 * this.holdBack * this.target()) this.seekLive(); });
  }

  /** Plays the multivariant playlist at url until the next call or stop. */
  play(url) {
    this.stop();
    this.url = url;
    this.abort = new AbortController();
    this.stalls = 0;
    if (this.native) this.playNative(url, this.abort.signal); else this.run(url, this.abort.signal);
  }

  stop() {
    this.abort?.abort(new Restart());
    this.tracks = this.offset = null;
    this.moved = false;
    this.from = Infinity;
  }

  playNative(url, signal) {
    this.from = 0;
    this.video.src = url;
    this.video.play().catch(() => {});
    once(this.video, 'error', signal).then(() => {
      this.onStatus(`Waiting: ${this.video.error?.message || 'the browser cannot play this yet'}`);
      return sleep(2000, signal);
    }).then(() => this.playNative(url, signal)).catch(() => {}); // another picture was chosen
  }

  async run(url, signal) {
    while (!signal.aborted) {
      const session = new AbortController();
      const stop = () => session.abort(signal.reason);
      signal.addEventListener('abort', stop);
      try {
        await this.session(url, session.signal);
      } catch (e) {
        session.abort(e); // ends the other tracks, too
        if (!signal.aborted && !(e instanceof Restart)) this.onStatus(`Waiting: ${e.message}`);
      }
      signal.removeEventListener('abort', stop);
      if (this.object) URL.revokeObjectURL(this.object);
      try { await sleep(1000, signal); } catch { return; }
      this.tracks = null;
      this.moved = false;
      this.from = Infinity;
    }
  }

  async session(url, signal) {
    const variants = parseMaster(await (await get(url, signal, 'playlist')).text(), url)
      .filter(v => v.codecs.every(c => Source.isTypeSupported(`video/mp4; codecs="${c}"`)));
    if (!variants.length) throw new Error('nothing this browser can play');
    this.onVariants(variants);
    const variant = variants.find(v => v.height === this.height) ?? variants[0];
    const isAudio = c => /^(mp4a|opus|flac|ac-3|ec-3)/i.test(c);
    const sound = variant.codecs.filter(isAudio), picture = variant.codecs.filter(c => !isAudio(c));
    const tracks = variant.audio
      ? [new Track('video', variant.url, `video/mp4; codecs="${picture}"`), new Track('audio', variant.audio, `audio/mp4; codecs="${sound}"`)]
      : [new Track('video', variant.url, `video/mp4; codecs="${variant.codecs}"`)];
    await Promise.all(tracks.map(t => t.refresh(signal)));
    this.align(tracks);

    const media = new Source();
    this.video.disableRemotePlayback = true; // ManagedMediaSource demands it
    this.video.src = this.object = URL.createObjectURL(media);
    await once(media, 'sourceopen', signal);
    for (const t of tracks) t.buffer = media.addSourceBuffer(t.type);
    this.tracks = tracks;
    await Promise.all([this.watch(signal), ...tracks.map(t => this.feed(t, signal))]);
  }

  /** Chooses the segments to begin with: those that cover one instant. */
  align(tracks) {
    for (const t of tracks) if (!t.list.segments.length) throw new Error(`the ${t.kind} playlist is empty`);
    const [video, ...others] = tracks;
    const at = segs => segs[Math.max(segs.length - this.holdBack, 0)];
    const begin = at(video.list.segments);
    video.next = begin.number;
    for (const t of others) {
      const match = begin.time !== null && t.list.segments.find(s => s.time !== null && s.time + s.duration * 1000 > begin.time + 1);
      t.next = (match || at(t.list.segments)).number;
    }
  }

  /** Fetches the segments of one track as they appear. */
  async feed(t, signal) {
    const { video } = this;
    for (let failures = 0; ;) {
      if (t.next > t.list.last) {
        if (t.list.ended) return;
        await sleep(t.list.target * 300, signal);
        await t.refresh(signal);
        if (t.list.last < t.next - 1) throw new Restart(); // the source numbers anew
        continue;
      }
      if (t.next < t.list.first) {
        t.next = Math.max(t.list.last - this.holdBack + 1, t.list.first);
        t.due = null;
      }
      const s = t.list.segments[t.next - t.list.first];
      // Times may jump, be it said or, after a restart of the source, not.
      const other = t.due !== null && s.time !== null && Math.abs(s.time - t.due) > 1000 * t.list.target;
      if ((s.discontinuity || other) && this.moved) throw new Restart();
      try {
        if (s.map && s.map !== t.map) {
          await t.append(await (await get(s.map, signal, `${t.kind} initialization`)).arrayBuffer(), video, signal);
          t.map = s.map;
        }
        const before = t.buffer.buffered.length;
        await t.append(await (await get(s.url, signal, `${t.kind} segment ${s.number}`)).arrayBuffer(), video, signal);
        if (!before && t.kind === 'video' && s.time !== null && t.buffer.buffered.length) {
          this.offset = s.time - t.buffer.buffered.start(0) * 1000;
        }
        failures = 0;
      } catch (e) {
        if (signal.aborted || ++failures > 3) throw e;
        if (e.status !== 404 && e.status !== 410) { await sleep(500, signal); continue; }
      }
      t.next++; // a segment that is gone leaves a gap
      t.due = s.time === null ? null : s.time + s.duration * 1000;
      await t.trim(video.currentTime - 30, signal);
      while (t.end() - video.currentTime > 40 && this.moved) await sleep(500, signal);
    }
  }

  /** Starts playback and keeps it near the live edge. */
  async watch(signal) {
    const { video } = this;
    const ranges = () => this.tracks.map(t => t.buffer.buffered);
    while (!ranges().every(r => r.length)) await sleep(50, signal);
    this.from = Math.max(...ranges().map(r => r.start(0)));
    video.currentTime = this.from;
    video.play().catch(() => this.onStatus('Press play'));
    for (let last = -1, still = 0, seen = 0; ; last = video.currentTime) {
      await sleep(250, signal);
      if (video.error) throw new Error(video.error.message || 'the media cannot be decoded');
      const target = this.holdBack * this.target(), ahead = this.ahead();
      // Catch up softly after a stall, at once after a long one.
      video.playbackRate = ahead > target + this.target() ? 1.06 : 1;
      if (!video.paused && ahead > 3 * target + 10) this.seekLive();
      still = video.currentTime === last && !video.paused ? still + 1 : 0;
      if (still === 0) seen = this.tracks[0].next;
      if (still >= 4) this.jumpGap();
      // Media comes, and none of it for this position.
      if (still >= 24 && this.tracks[0].next > seen + 1) throw new Restart();
    }
  }

  /** Goes over a hole in the media once the picture stands before it. */
  jumpGap() {
    const { video } = this, b = video.buffered;
    for (let i = 0; i < b.length; i++) {
      if (b.start(i) > video.currentTime + 0.01) { video.currentTime = b.start(i) + 0.01; return; }
    }
  }

  seekLive() {
    const end = Math.min(...this.tracks.map(t => t.end()));
    this.video.currentTime = Math.max(end - this.holdBack * this.target(), 0);
  }

  target() { return this.tracks?.[0].list?.target ?? 2; }

  /** Seconds of media after the current position. */
  ahead() {
    if (!this.tracks?.every(t => t.buffer)) {
      const b = this.video.buffered;
      return b.length ? b.end(b.length - 1) - this.video.currentTime : 0;
    }
    return Math.max(Math.min(...this.tracks.map(t => t.end())) - this.video.currentTime, 0);
  }

  /** What the page shows. latency is null where it is unknown. */
  stats() {
    const { video } = this, q = video.getVideoPlaybackQuality?.();
    let latency = this.offset === null ? null : (Date.now() - this.offset) / 1000 - video.currentTime;
    const start = video.getStartDate?.();
    if (this.native && start && !isNaN(start)) latency = (Date.now() - start) / 1000 - video.currentTime;
    return {
      latency: this.moved ? latency : null, buffer: this.ahead(), stalls: this.stalls,
      width: video.videoWidth, height: video.videoHeight, dropped: q?.droppedVideoFrames ?? null, frames: q?.totalVideoFrames ?? null,
    };
  }
}
