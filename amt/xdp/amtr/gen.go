package amtr

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -tags linux -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Wextra -Werror -mcpu=v3" -no-global-types -type endpoint -type gateway -type record track ../bpf/track.c
//go:generate sh -c "cd .. && sha256sum bpf/bpf.h bpf/net.h bpf/track.c amtr/track_bpfel.o amtr/track_bpfeb.o >bpf/track.sum"
