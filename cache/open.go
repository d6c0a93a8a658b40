package cache

import "context"

// Open makes a store. With Config.Dir it finds the objects that an earlier
// store left there, as far as the keys of their services are configured.
func Open(cfg Config) (*Store, error) {
	cfg = populateConfig(cfg)
	if err := validateConfig(cfg); err != nil {
		return nil, err
	}
	s := &Store{
		cfg:      cfg,
		services: make(map[string]*service, len(cfg.Services)),
		growing:  make(map[*Object]*body),
		flights:  make(map[Key]*flight),
		watches:  make(map[Key]*watch),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for name, sc := range cfg.Services {
		svc := s.service(name)
		svc.cfg = sc
		if err := s.setKeys(svc); err != nil {
			return nil, err
		}
	}
	if cfg.Dir != "" {
		if err := s.openDisk(); err != nil {
			s.cancel(err)
			return nil, err
		}
	}
	return s, nil
}
