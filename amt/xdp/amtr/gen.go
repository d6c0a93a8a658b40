package amtr

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -tags linux -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Wextra -Werror -mcpu=v3" -no-global-types -type endpoint -type gateway -type record track ../bpf/track.c
