package follow

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// Config configures a Machine.
type Config struct {
	// Index is what the manifests of the service announce. Required.
	Index *manifest.Index
	// Has tells whether the node has an object, whole or in growth. Required. It must not call the machine.
	Has func(name string) bool
	// Window is how many segments of a track are kept complete, at most. Default 16.
	Window int
	// Rand returns a number in [0, 1). Default: math/rand/v2.
	Rand func() float64
}

// Source is where a service comes from.
type Source uint8

const (
	Multicast Source = iota
	Parent
)

// State is what a Machine does now.
type State struct {
	Source Source
	Since  time.Time
	// Back tells that objects come by multicast again, though none is complete yet.
	Back bool
	// Silent is for how long no packet had come when the node went over.
	Silent time.Duration
	// Heard is false if nothing ever came by multicast.
	Heard bool
}

// Kind is what is to be done.
type Kind uint8

const (
	// Fetch an object for readers and sinks. It may not exist yet.
	Fetch Kind = iota + 1
	// Fill the cache with an object.
	Fill
	// Feed an object that multicast began with what it lacks, while it grows.
	Feed
	// Refresh a manifest: wait for a newer one than the one that is here.
	Refresh
	// Discover the names of the manifests.
	Discover
	// Cancel the job.
	Cancel
)

// Action is something to be done.
type Action struct {
	Kind Kind
	Job  uint64
	Name string
	// Wait is how long the parent may wait until there is something.
	Wait time.Duration
	// Expect is how long that takes as a rule.
	Expect time.Duration
}

// Outcome is how a job has ended.
type Outcome uint8

const (
	Done   Outcome = iota // it brought what it should
	Taken                 // the node has the object from elsewhere
	Busy                  // its octets come to the node by another way just now
	Absent                // the parents have it not, or nothing newer
	Failed                // no parent could be reached, or all broke off
)

// Object is one object that has begun. It belongs to its Machine.
type Object struct {
	name          string
	media         bool
	parent        bool // comes from a parent
	stem          string
	run           uint64
	begun, grown  time.Time
	ended, fed    bool
	endedAt       time.Time
	replacedByNew bool
}

type job struct {
	id    uint64
	kind  Kind
	name  string
	since time.Time
	ahead bool // of what is not known to exist
	begun bool // octets come
	dead  bool // cancelled
}

// trouble is when a name may be asked for again.
type trouble struct {
	at time.Time
	n  int
}

// track is what is remembered of a sequence.
type track struct {
	joined string    // its newest object when the node saw it first; "" if none is known
	newest uint32    // the number of its newest object
	seen   time.Time // last
	idle   time.Time // since when none of its objects grows
}

// Machine follows one service. It is for one goroutine at a time.
type Machine struct {
	cfg     Config
	started time.Time
	gaps    gaps
	ever    bool // anything has come by multicast
	jitter  float64

	state   State
	resumed time.Time // since when objects come by multicast again; zero: they do not
	packets time.Time // the last one
	trial   time.Time // since when multicast is given the chance to begin objects again; zero: it is not
	tryAt   time.Time // no such trial before
	tries   int       // in a row that brought nothing
	news    time.Time // when a parent gave something new, or multicast

	objects   map[string]*Object
	manifests map[string]time.Time // when each changed last
	tracks    map[string]*track
	runs      map[string]uint64    // the newest one of each track, by its template
	lacking   map[string]time.Time // since when it is known that a name is not here
	troubles  map[string]trouble
	jobs      map[uint64]*job
	working   map[string]*job
	lastJob   uint64
	actions   []Action
	next      time.Time
	pruned    time.Time
}

const (
	maxObjects   = 4096
	maxManifests = 64
	maxTracks    = 128
	// forget is how long names are remembered.
	forget = 10 * time.Minute
	// stuck is how long an object that comes from a parent may stand before it is given up.
	stuck = 15 * time.Second

	// grace is how long what a manifest lists may take to come by multicast; an initialization segment comes with a
	// carousel.
	grace, initGrace = 500 * time.Millisecond, 1500 * time.Millisecond
	// maxGap and maxFill bound the requests for what was missed, and for what is older than this node's part.
	maxGap, maxFill = 8, 2
	// mostTrial bounds the distance between trials of multicast while its packets bring nothing. Each may cost readers
	// some hundred milliseconds.
	mostTrial = 30 * time.Second
	// refreshWait is how long a parent may wait for a newer manifest.
	refreshWait = 20 * time.Second
	// firstTrouble is how long a name is left alone after a failure; it doubles up to mostTrouble, or, while the parents
	// have nothing new at all, up to idleTrouble.
	firstTrouble, mostTrouble, idleTrouble = 200 * time.Millisecond, 2 * time.Second, 30 * time.Second
)

// New returns a Machine of a service that is received from now on.
func New(now time.Time, cfg Config) *Machine {
	cfg.Window = cmp.Or(cfg.Window, 16)
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	m := &Machine{
		cfg: cfg, started: now, gaps: newGaps(now), news: now, state: State{Since: now},
		objects: make(map[string]*Object), manifests: make(map[string]time.Time), tracks: make(map[string]*track),
		runs:    make(map[string]uint64),
		lacking: make(map[string]time.Time), troubles: make(map[string]trouble),
		jobs: make(map[uint64]*job), working: make(map[string]*job),
	}
	m.jitter = cfg.Rand()
	m.next = m.silentAt()
	return m
}

// State returns what the machine does now.
func (m *Machine) State() State {
	s := m.state
	s.Back = !m.resumed.IsZero()
	s.Heard = m.ever
	return s
}

// News is when something new came last, on whatever way.
func (m *Machine) News() time.Time { return m.news }

// NextTimeout is when HandleTimeout wants to be called.
func (m *Machine) NextTimeout() time.Time { return m.next }

// Poll returns the next action, and false if there is none.
func (m *Machine) Poll() (Action, bool) {
	if len(m.actions) == 0 {
		return Action{}, false
	}
	a := m.actions[0]
	m.actions = m.actions[1:]
	return a, true
}

// mostSilence bounds what is learnt: whatever the flow, an encoder writes each segment once.
func (m *Machine) mostSilence() time.Duration {
	if d := m.cfg.Index.TargetDuration(); d > 0 {
		return d + d/2 + 500*time.Millisecond
	}
	return 5 * time.Second
}

// silence is after how long the flow counts as silent, without the random part.
func (m *Machine) silence() time.Duration { return m.gaps.silence(m.mostSilence()) }

// silentAt is when the flow will count as silent.
func (m *Machine) silentAt() time.Time {
	d := m.silence()
	return m.gaps.last.Add(d + time.Duration(m.jitter*float64(min(d/2, 500*time.Millisecond))))
}

// Packets notes that packets of the service's objects have come, whatever these bring. They may be forged.
func (m *Machine) Packets(now time.Time) {
	m.packets = now
	if m.state.Source == Parent && m.resumed.IsZero() && m.trial.IsZero() && !now.Before(m.tryAt) {
		// What is fetched ahead leaves nothing for multicast to begin, by which its return would show.
		m.trial = now
		m.withdraw()
		m.plan(now)
	}
}

// heard notes that multicast brought something of an object.
func (m *Machine) heard(now time.Time) {
	silent := m.state.Source == Parent && m.resumed.IsZero()
	m.gaps.heard(now, m.ever && !silent)
	m.ever = true
	if silent {
		m.resumed, m.trial, m.tries = now, time.Time{}, 0
		m.withdraw()
	}
}

// failed ends a trial.
func (m *Machine) failed(now time.Time) {
	m.trial = time.Time{}
	m.tryAt = now.Add(min(mostTrial, time.Second<<min(m.tries, 10)))
	m.tries++
}

// withdraw cancels what has been asked for ahead of multicast.
func (m *Machine) withdraw() {
	for _, j := range m.jobs {
		if j.kind == Refresh || j.kind == Discover || j.kind == Fetch && !j.begun && !m.cfg.Has(j.name) && m.objects[j.name] == nil {
			m.cancel(j)
		}
	}
}

func (m *Machine) cancel(j *job) {
	if !j.dead {
		j.dead = true
		m.actions = append(m.actions, Action{Kind: Cancel, Job: j.id, Name: j.name})
	}
}

// Meta is what is known of an object that begins.
type Meta struct {
	Name   string
	Media  bool
	Parent bool // it comes from a parent, not by multicast
	// Stem is the file template of its track and Run the run of the encoder that it belongs to, if that is known.
	Stem string
	Run  uint64
}

// Begun notes that an object has begun.
func (m *Machine) Begun(now time.Time, x Meta) *Object {
	name := x.Name
	if old := m.objects[name]; old != nil {
		old.replacedByNew = true
	}
	m.restarted(x)
	o := &Object{name: name, media: x.Media, parent: x.Parent, stem: x.Stem, run: x.Run, begun: now, grown: now}
	if len(m.objects) >= maxObjects {
		m.forgetOldest()
	}
	m.objects[name] = o
	delete(m.lacking, name)
	delete(m.troubles, name)
	if j := m.working[name]; j != nil && x.Parent {
		j.begun = true
	}
	m.news = now
	if x.Media && !x.Parent {
		m.heard(now)
	}
	m.plan(now)
	return o
}

// restarted forgets the objects that have ended of earlier runs of a track: what has their names now is something else.
func (m *Machine) restarted(x Meta) {
	if x.Stem == "" || x.Run <= m.runs[x.Stem] {
		return
	}
	if _, known := m.runs[x.Stem]; !known && len(m.runs) >= maxTracks {
		clear(m.runs)
	}
	m.runs[x.Stem] = x.Run
	for name, o := range m.objects {
		if o.stem == x.Stem && o.run < x.Run && o.ended {
			delete(m.objects, name)
		}
	}
}

func (m *Machine) forgetOldest() {
	var oldest *Object
	for _, o := range m.objects {
		if oldest == nil || o.ended && !oldest.ended || o.ended == oldest.ended && o.grown.Before(oldest.grown) {
			oldest = o
		}
	}
	delete(m.objects, oldest.name)
}

// Grown notes that more of an object is readable.
func (m *Machine) Grown(now time.Time, o *Object) {
	o.grown = now
	m.news = now
	if o.media && !o.parent && !o.fed {
		again := m.state.Source == Parent && m.resumed.IsZero()
		m.heard(now)
		if again {
			m.plan(now)
		}
	}
}

// Ended notes that an object is complete, or was given up.
func (m *Machine) Ended(now time.Time, o *Object, complete bool) {
	o.ended, o.endedAt = true, now
	switch {
	case o.replacedByNew:
	case !complete:
		delete(m.objects, o.name)
		m.putOff(now, o.name)
	case o.media && !o.parent && !o.fed && m.state.Source == Parent && !m.resumed.IsZero():
		m.to(now, Multicast)
	}
	m.plan(now)
}

// Manifest notes that a manifest is here that is new or has changed.
func (m *Machine) Manifest(now time.Time, name string) {
	if _, known := m.manifests[name]; !known && len(m.manifests) >= maxManifests {
		var oldest string
		for n, at := range m.manifests {
			if oldest == "" || at.Before(m.manifests[oldest]) {
				oldest = n
			}
		}
		delete(m.manifests, oldest)
	}
	m.manifests[name] = now
	m.news = now
	m.plan(now)
}

// Result notes how a job has ended.
func (m *Machine) Result(now time.Time, id uint64, out Outcome) {
	j := m.jobs[id]
	if j == nil {
		return
	}
	delete(m.jobs, id)
	if m.working[j.name] == j {
		delete(m.working, j.name)
	}
	switch {
	case j.dead || out == Done:
		delete(m.troubles, j.name)
		if j.kind == Refresh && out == Done {
			m.news = now
		}
	case out == Taken:
		if !m.here(j.name) { // from before the machine
			m.objects[j.name] = &Object{name: j.name, begun: now, grown: now, ended: true, endedAt: now}
		}
	case out == Busy && m.here(j.name):
	case j.kind == Refresh && out == Absent && now.Sub(j.since) > refreshWait/4:
		delete(m.troubles, j.name) // it has waited long enough
	default:
		m.putOff(now, j.name)
	}
	m.plan(now)
}

// putOff leaves a name alone for a time.
func (m *Machine) putOff(now time.Time, name string) {
	t := m.troubles[name]
	most := mostTrouble
	if m.idle(now) {
		most = idleTrouble
	}
	d := min(most, firstTrouble<<min(t.n, 10))
	m.troubles[name] = trouble{now.Add(d - d/5 + time.Duration(m.cfg.Rand()*float64(2*d/5))), t.n + 1}
}

// idle tells whether nothing new has come for so long, on whatever way, that the source seems to make a pause.
func (m *Machine) idle(now time.Time) bool {
	return now.Sub(m.news) > max(10*time.Second, 3*m.cfg.Index.TargetDuration())
}

// HandleTimeout does what has become due.
func (m *Machine) HandleTimeout(now time.Time) {
	if !now.Before(m.next) {
		m.plan(now)
	}
}

func (m *Machine) to(now time.Time, s Source) {
	m.state = State{Source: s, Since: now, Silent: now.Sub(m.gaps.last)}
	m.resumed, m.trial, m.tries = time.Time{}, time.Time{}, 0
	m.jitter = m.cfg.Rand()
}

// evaluate finds out whether the flow is silent.
func (m *Machine) evaluate(now time.Time) {
	at := m.silentAt()
	if now.Before(at) {
		m.sooner(at)
		return
	}
	switch {
	case m.state.Source == Multicast:
		m.to(now, Parent)
	case !m.resumed.IsZero():
		m.resumed = time.Time{} // it was not for long
	}
}

func (m *Machine) sooner(at time.Time) {
	if m.next.IsZero() || at.Before(m.next) {
		m.next = at
	}
}

// start begins a job for a name, unless there is one or it has to wait.
func (m *Machine) start(now time.Time, kind Kind, name string, wait, expect time.Duration) *job {
	if m.working[name] != nil {
		return nil
	}
	if t, ok := m.troubles[name]; ok && now.Before(t.at) {
		m.sooner(t.at)
		return nil
	}
	m.lastJob++
	j := &job{id: m.lastJob, kind: kind, name: name, since: now}
	m.jobs[j.id], m.working[name] = j, j
	m.actions = append(m.actions, Action{Kind: kind, Job: j.id, Name: name, Wait: wait, Expect: expect})
	return j
}

// due tells whether it is known for long enough that a name is not here.
func (m *Machine) due(now time.Time, name string, after time.Duration) bool {
	since, known := m.lacking[name]
	if !known {
		since = now
		m.lacking[name] = now
	}
	if at := since.Add(after); now.Before(at) {
		m.sooner(at)
		return false
	}
	return true
}

// plan starts whatever is due and finds out when to look again.
func (m *Machine) plan(now time.Time) {
	m.next = now.Add(bucket)
	m.evaluate(now)
	m.prune(now)
	if !m.trial.IsZero() {
		// Packets that have ceased are no chance any more.
		if at := m.packets.Add(m.silence()); now.Before(at) {
			m.sooner(at)
		} else {
			m.trial = time.Time{}
		}
	}
	m.feed(now)
	all := m.cfg.Index.Sequences(now, m.cfg.Window)
	if m.state.Source == Parent {
		m.ahead(now, all)
	}
	if m.following() {
		m.refresh(now)
	}
	m.missed(now, all)
}

// following tells whether the parents are asked for all that comes, before it exists.
func (m *Machine) following() bool {
	return m.state.Source == Parent && m.resumed.IsZero() && m.trial.IsZero()
}

// feed starts what brings objects of multicast that stand.
func (m *Machine) feed(now time.Time) {
	limit := max(time.Second, 2*m.silence())
	switch {
	case m.state.Source == Multicast:
	case m.resumed.IsZero():
		limit = 0
	default:
		limit = m.silence()
	}
	for _, o := range m.objects {
		if o.ended || o.replacedByNew {
			continue
		}
		if o.parent {
			if at := o.grown.Add(stuck); now.Before(at) {
				m.sooner(at)
			} else if j := m.working[o.name]; j != nil {
				m.cancel(j)
			}
			continue
		}
		if at := o.grown.Add(limit); now.Before(at) {
			m.sooner(at)
			continue
		}
		if m.start(now, Feed, o.name, refreshWait, m.silence()) != nil {
			o.fed = true
		}
	}
}

// key is what a sequence is remembered by.
func key(s *manifest.Sequence) string {
	if s.Template.IsZero() {
		return s.Manifest + "\x00" + s.Init
	}
	return s.Template.Prefix + "\x00" + s.Template.Suffix
}

func (m *Machine) track(now time.Time, s *manifest.Sequence) *track {
	k := key(s)
	t := m.tracks[k]
	if t == nil {
		if len(m.tracks) >= maxTracks {
			clear(m.tracks) // nobody's channel
		}
		t = &track{idle: now}
		m.tracks[k] = t
	}
	t.seen = now
	n := len(s.Names)
	if n == 0 || s.Guessed {
		return t
	}
	newest := s.Names[n-1]
	if number, ok := s.Template.Match(newest); ok {
		if t.joined != "" && number+restart < t.newest {
			// The encoder has begun again: what had these names before is not what has them now.
			t.joined = ""
			for name, o := range m.objects {
				if _, of := s.Template.Match(name); of && o.ended && now.Sub(o.endedAt) > grace {
					delete(m.objects, name)
				}
			}
		}
		t.newest = number
	}
	if t.joined == "" {
		t.joined = newest
	}
	return t
}

// restart is how far the newest number of a track falls when its encoder begins again.
const restart = 2

// here tells whether an object has begun at this node and was not given up, whole or in growth.
func (m *Machine) here(name string) bool { return m.objects[name] != nil }

// ahead asks for the objects that come next, before they exist.
func (m *Machine) ahead(now time.Time, all []manifest.Sequence) {
	for i := range all {
		s := &all[i]
		t := m.track(now, s)
		busy := false
		if n := len(s.Names); n > 0 {
			newest := s.Names[n-1]
			o := m.objects[newest]
			busy = o != nil && !o.ended || m.working[newest] != nil
		}
		if busy || s.Next == "" || m.here(s.Next) {
			t.idle = now
			continue
		}
		if !m.following() {
			// Multicast is back: it has its time to begin the object.
			since := t.idle
			for _, at := range []time.Time{m.resumed, m.trial} {
				if since.Before(at) {
					since = at
				}
			}
			if at := since.Add(m.silence()); now.Before(at) {
				m.sooner(at)
				continue
			}
		}
		if j := m.start(now, Fetch, s.Next, refreshWait, m.silence()); j != nil {
			j.ahead = true
			if !m.trial.IsZero() {
				m.failed(now)
			}
		}
	}
}

// refresh waits for newer manifests.
func (m *Machine) refresh(now time.Time) {
	if len(m.manifests) == 0 {
		m.start(now, Discover, "", 0, 0)
		return
	}
	names := make([]string, 0, len(m.manifests))
	for name := range m.manifests {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := m.manifests[b].Compare(m.manifests[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	if m.idle(now) {
		names = names[:1]
	}
	for _, name := range names {
		m.start(now, Refresh, name, refreshWait, refreshWait)
	}
}

// missed asks for what manifests list and the node lacks.
func (m *Machine) missed(now time.Time, all []manifest.Sequence) {
	patience, initPatience := grace, initGrace
	if m.following() {
		patience, initPatience = 0, 0
	}
	gap, fill := 0, 0
	for _, j := range m.jobs {
		switch {
		case j.kind == Fill:
			fill++
		case j.kind == Fetch && !j.ahead:
			gap++
		}
	}
	longest := 0
	for i := range all {
		s := &all[i]
		longest = max(longest, len(s.Names))
		if s.Init != "" && !m.cfg.Has(s.Init) && m.due(now, s.Init, initPatience) {
			m.start(now, Fetch, s.Init, 0, 0)
		}
	}
	old := make([]int, len(all))
	for i := range all {
		s := &all[i]
		t := m.track(now, s)
		if s.Guessed || t.joined == "" {
			s.Names = nil
		}
		old[i] = slices.Index(s.Names, t.joined) + 1
	}
	// What players play next comes first: the oldest of what was missed.
	for k := 0; k < longest && gap < maxGap; k++ {
		for i := range all {
			s := &all[i]
			if k < old[i] || k >= len(s.Names) || m.here(s.Names[k]) || !m.due(now, s.Names[k], patience) {
				continue
			}
			if m.start(now, Fetch, s.Names[k], refreshWait, 0) != nil {
				gap++
			}
		}
	}
	for k := longest - 1; k >= 0 && fill < maxFill; k-- {
		for i := range all {
			s := &all[i]
			if k >= old[i] || m.here(s.Names[k]) || m.cfg.Has(s.Names[k]) || !m.due(now, s.Names[k], patience+grace) {
				continue
			}
			if fill < maxFill && m.troubles[s.Names[k]].n < 3 && m.start(now, Fill, s.Names[k], 0, 0) != nil {
				fill++
			}
		}
	}
}

// prune forgets what is over.
func (m *Machine) prune(now time.Time) {
	if now.Sub(m.pruned) < bucket {
		return
	}
	m.pruned = now
	for name, o := range m.objects {
		if o.ended && now.Sub(o.endedAt) > forget {
			delete(m.objects, name)
		}
	}
	for name, since := range m.lacking {
		if now.Sub(since) > forget {
			delete(m.lacking, name)
		}
	}
	for name, t := range m.troubles {
		if now.Sub(t.at) > forget {
			delete(m.troubles, name)
		}
	}
	for k, t := range m.tracks {
		if now.Sub(t.seen) > forget {
			delete(m.tracks, k)
		}
	}
}
