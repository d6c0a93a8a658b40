package amtr

func newSource(m Method, config *Config) (source, error) {
	if m == MethodBPF {
		return newBPFSource(config)
	}
	return newSocketSource(config)
}
