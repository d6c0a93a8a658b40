package nettest
