package xdp

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -tags linux -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -g -Wall -Wextra -Werror -mcpu=v3" -no-global-types -type channel_key -type channel -type tunnel -type counts copy bpf/copy.c
//go:generate sh -c "cd . && sha256sum bpf/bpf.h bpf/net.h bpf/copy.c copy_bpfel.o copy_bpfeb.o >bpf/copy.sum"
