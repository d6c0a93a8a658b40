package route

// Reconfigure changes Rate, MaxBuffered, Loss, NoRepair, GrowingDelay and
// GrowingTarget under way to those of cfg: the first two at once, the repair flow
// for objects that end from now on, that for growing objects for what is not
// protected yet.
func (s *Sender) Reconfigure(cfg SenderConfig) {
	cfg = cfg.withDefaults()
	delay, noRepair := s.cfg.GrowingDelay, s.cfg.NoRepair
	s.cfg.Rate, s.cfg.Loss, s.cfg.NoRepair = cfg.Rate, cfg.Loss, cfg.NoRepair
	s.cfg.MaxBuffered = cfg.MaxBuffered
	s.cfg.GrowingDelay, s.cfg.GrowingTarget = cfg.GrowingDelay, cfg.GrowingTarget
	if (noRepair != cfg.NoRepair || delay != cfg.GrowingDelay) && len(s.flows) > 0 {
		s.announce() // the S-TSID tells of repair flows
	}
}

// Waiting tells whether source packets wait to be sent.
func (s *Sender) Waiting() bool {
	for _, f := range s.flows {
		if len(f.queue) > 0 {
			return true
		}
	}
	return false
}
