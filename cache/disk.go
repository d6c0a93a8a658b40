package cache

import "time"

type epoch struct{ EpochKey }

func (e *epoch) readable(now time.Time) bool {
	return e.NotAfter.IsZero() || now.Before(e.NotAfter)
}

type diskFile struct{ epoch *epoch }

type spiller struct{}

type openFile struct{}

func (f *openFile) ReadAt(p []byte, off int64) (int, error) { return 0, ErrEvicted }
func (f *openFile) Close() error                            { return nil }

type fileSystem interface{}

func (o *Object) openFile() (*openFile, error) { return nil, ErrEvicted }
func (o *Object) checkRead(err error) error    { return err }
func (s *Store) enqueue(o *Object) bool        { return false }
func (s *Store) dropFile(o *Object)            {}
func (s *Store) setKeys(svc *service) error    { return nil }
func (s *Store) openDisk() error               { return nil }
func (s *Store) closeDisk()                    {}
func (s *Store) stopSpiller()                  {}
func (s *Store) diskStats(*Stats)              {}
