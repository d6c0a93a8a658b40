package route

import "github.com/treedn/treedn/fec"

// Reconfigure changes Rate, Loss and NoRepair of the SenderConfig under way:
// the rate at once, the repair flow for objects that end from now on.
func (s *Sender) Reconfigure(rate int64, loss fec.Loss, noRepair bool) {
	s.cfg.Rate, s.cfg.Loss = rate, loss
	if s.cfg.NoRepair != noRepair {
		s.cfg.NoRepair = noRepair
		if len(s.flows) > 0 {
			s.announce() // the S-TSID tells of repair flows
		}
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
