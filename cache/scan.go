package cache

import (
	"errors"
	"io/fs"
	"path"
	"slices"
)

// foreignFile is a file for which no key is known: of a service that is not
// configured (yet), or of an epoch that is gone.
type foreignFile struct {
	name  fileName
	nonce [nonceSize]byte
	tag   [tagSize]byte
	size  int64
}

// foundFile is a file that a key opens.
type foundFile struct {
	svc    *service
	record record
	file   *diskFile
}

// openDisk finds what is on disk and begins to write. A disk that does not
// work is no reason not to start.
func (s *Store) openDisk() error {
	if s.cfg.files == nil {
		s.cfg.files = osFiles{s.cfg.Dir}
	}
	s.spill.work.L, s.spill.written.L = &s.mu, &s.mu
	err := s.cfg.files.MkdirAll(tempDir)
	if err == nil {
		s.lock, err = s.cfg.files.Lock(lockName)
		if errors.Is(err, ErrLocked) {
			return err
		}
	}
	var found []foundFile
	if err == nil {
		found, err = s.scan()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spill.running = true
	if err != nil {
		s.diskFailed(err)
	}
	s.adopt(found)
	for _, svc := range s.services {
		s.sweep(svc)
		s.makeDiskRoom(svc, 0, 0, 0)
	}
	s.wg.Go(s.spillLoop)
	return nil
}

// scan looks at every file of the tier. What is torn or forged is removed.
func (s *Store) scan() ([]foundFile, error) {
	temps, err := s.cfg.files.ReadDir(tempDir)
	if err != nil {
		return nil, err
	}
	for _, t := range temps {
		_ = s.cfg.files.Remove(path.Join(tempDir, t.Name()))
	}
	var epochs []owner
	for _, svc := range s.services {
		for _, e := range svc.keys {
			epochs = append(epochs, owner{svc, e})
		}
	}
	var found []foundFile
	err = s.eachFile(func(n fileName) {
		f, err := s.inspect(n, epochs)
		switch {
		case err == nil:
			found = append(found, f)
		case errors.Is(err, errForeign) || errors.Is(err, fs.ErrNotExist):
		default:
			s.reject(n, err)
		}
	})
	return found, err
}

// reject removes a file that is not what was written.
func (s *Store) reject(n fileName, err error) {
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		s.count.diskErrors.Add(1)
		return // perhaps it can be read another time
	}
	s.count.authFail.Add(1)
	_ = s.cfg.files.Remove(n.path())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnForged()
}

// eachFile calls f for each name of a file in the tier.
func (s *Store) eachFile(f func(fileName)) error {
	dirs, err := s.cfg.files.ReadDir(objectsDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, a := range dirs {
		subdirs, err := s.cfg.files.ReadDir(path.Join(objectsDir, a.Name()))
		if err != nil {
			continue // not a directory: not ours
		}
		for _, b := range subdirs {
			entries, err := s.cfg.files.ReadDir(path.Join(objectsDir, a.Name(), b.Name()))
			if err != nil {
				continue
			}
			for _, e := range entries {
				n, ok := parseFileName(e.Name())
				if ok && e.Type().IsRegular() && n.path() == path.Join(objectsDir, a.Name(), b.Name(), e.Name()) {
					f(n)
				}
			}
		}
	}
	return nil
}

type owner struct {
	svc   *service
	epoch *epoch
}

// errForeign says that no key fits; the file was noted.
var errForeign = errors.New("cache: no key fits the file")

// inspect finds out what a file is.
func (s *Store) inspect(n fileName, epochs []owner) (f foundFile, err error) {
	h, err := s.cfg.files.Open(n.path())
	if err != nil {
		return f, err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return f, err
	}
	p, head, err := readHead(h)
	if err != nil {
		return f, err
	}
	i := slices.IndexFunc(epochs, func(o owner) bool { return o.epoch.tag(&p.nonce) == p.tag })
	if i < 0 {
		s.mu.Lock()
		s.foreign = append(s.foreign, foreignFile{n, p.nonce, p.tag, info.Size()})
		s.disk.add(info.Size(), 1)
		s.mu.Unlock()
		return f, errForeign
	}
	e := epochs[i].epoch
	r, err := openRecord(h, info.Size(), e, &p, head)
	if err != nil {
		return f, err
	}
	if e.fileName(r.name) != n {
		return f, errRecord // a file under another one's name
	}
	return foundFile{epochs[i].svc, r, &diskFile{
		epoch:   e,
		name:    n,
		context: e.bodyContext(r.name, r.meta.Generation),
		body:    int64(prefixSize + p.sealed),
		size:    info.Size(),
	}}, nil
}

// adopt puts found files into the index, older objects first.
func (s *Store) adopt(found []foundFile) {
	slices.SortFunc(found, func(a, b foundFile) int {
		return a.record.meta.Created.Compare(b.record.meta.Created)
	})
	now := s.cfg.Now()
	for _, f := range found {
		key := Key{f.svc.name, f.record.name}
		cur := f.svc.objects[key.Name]
		known := s.services[f.svc.name] == f.svc && slices.Contains(f.svc.keys, f.file.epoch)
		if !known || !f.file.epoch.readable(now) ||
			(cur != nil && cur.meta.Generation >= f.record.meta.Generation) {
			if cur == nil || cur.file.Load() == nil || cur.file.Load().name != f.file.name {
				s.spill.remove(f.file.name)
			}
			continue
		}
		if cur != nil {
			s.drop(cur)
		}
		o := s.newObject(key, f.record.meta)
		o.svc = f.svc
		o.length.Store(f.record.size)
		s.announce(o)
		s.place(o, f.file)
	}
}

// forget has the i-th foreign file removed.
func (s *Store) forget(i int) {
	f := s.foreign[i]
	s.foreign = slices.Delete(s.foreign, i, i+1)
	s.disk.add(-f.size, -1)
	s.count.evictedDisk.Add(1)
	s.spill.remove(f.name)
}

// reclaim looks whether keys that came later fit foreign files. It is a job of
// the spiller.
func (s *Store) reclaim(svc *service) {
	s.mu.Lock()
	var epochs []owner
	for _, e := range svc.keys {
		epochs = append(epochs, owner{svc, e})
	}
	var mine []fileName
	s.foreign = slices.DeleteFunc(s.foreign, func(f foreignFile) bool {
		fits := slices.ContainsFunc(epochs, func(o owner) bool { return o.epoch.tag(&f.nonce) == f.tag })
		if fits {
			mine = append(mine, f.name)
			s.disk.add(-f.size, -1)
		}
		return fits
	})
	s.mu.Unlock()
	var found []foundFile
	for _, n := range mine {
		f, err := s.inspect(n, epochs)
		if err == nil {
			found = append(found, f)
		} else if !errors.Is(err, errForeign) && !errors.Is(err, fs.ErrNotExist) {
			s.reject(n, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(found)
	s.sweep(svc)
	s.makeDiskRoom(svc, 0, 0, 0)
}

func (s *Store) closeDisk() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
}
