package amtr

// The objects are built by clang of Debian 12 (packages clang, llvm and libbpf-dev).
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -target bpfel,bpfeb -go-package amtr -type event -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu" watch watch.c
//go:generate sh -c "sha256sum watch.c >watch.sum"
