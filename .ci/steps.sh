#!/usr/bin/env bash
# The steps of .ci/run. One is named by the first argument; it runs in the
# repository's root and ends with 0, with 66 when there is nothing to do, or
# else has failed.
set -euo pipefail

root=$PWD
tmp=$(mktemp -d)
# The module cache's directories are read-only.
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT

# Directories of the workspace's modules.
modules() { go list -m -f '{{.Dir}}'; }

# Those of the protocol modules and leaves: all but the root.
libraries() { modules | grep -vx "$root"; }

# tool NAME ARGS: a program of .ci/tools.
tool() {
	local name=$1
	shift
	[[ -x $tmp/$name ]] || (cd .ci/tools && GOWORK=off go build -o "$tmp/$name" "./$name")
	"$tmp/$name" "$@"
}

# gotest ARGS: go test, with one line per test.
gotest() {
	go test -json "$@" | tool report
}

# Programs that tests need, and the players' packages.
step_tools() {
	local packages=() have
	for have in ffmpeg:ffmpeg chromium:chromium ip:iproute2 nft:nftables ethtool:ethtool vtysh:frr tcpdump:tcpdump gcc:gcc \
		qemu-aarch64-static:qemu-user-static clang-14:clang-14 llvm-strip-14:llvm-14 \
		named:bind9 dig:bind9-dnsutils kdig:knot-dnsutils nsd:nsd unbound:unbound \
		knotd:knot dnsmasq:dnsmasq-base dnsdist:dnsdist pdns_server:pdns-backend-bind avahi-daemon:avahi-daemon; do
		command -v "${have%%:*}" >/dev/null || packages+=("${have##*:}")
	done
	if [[ -f test/players/package.json ]]; then
		command -v npm >/dev/null || packages+=(nodejs npm)
	fi
	if ((${#packages[@]})); then
		local sudo=()
		((EUID == 0)) || sudo=(sudo -n)
		"${sudo[@]}" apt-get update
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
	fi
	if [[ -f test/players/package.json ]]; then
		if [[ -f test/players/package-lock.json ]]; then
			(cd test/players && npm ci --no-audit --no-fund)
		else
			(cd test/players && npm install --no-audit --no-fund --no-package-lock)
		fi
	fi
}

step_format() {
	local bad
	bad=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 -r gofmt -l)
	[[ -z $bad ]] || { echo "not formatted by gofmt:" && echo "$bad" && return 1; }
}

step_vet() {
	go vet work
	(cd .ci/tools && GOWORK=off go vet ./...)
}

step_staticcheck() {
	go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 work
	(cd .ci/tools && GOWORK=off go run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...)
}

step_tidy() {
	local dir bad=0
	for dir in $(modules) "$root/.ci/tools"; do
		(cd "$dir" && echo "$dir" && GOWORK=off go mod tidy -diff) || bad=1
	done
	return $bad
}

# Everything builds for other systems; on 32 bits the tests are checked, too,
# since that is where constants overflow. What has no sockets also builds for
# the browser.
step_cross() {
	local target dir packages=()
	for target in darwin/arm64 windows/amd64 android/arm64; do
		echo "$target"
		CGO_ENABLED=0 GOOS=${target%/*} GOARCH=${target#*/} go build -ldflags=-w work
	done
	echo "linux/386"
	CGO_ENABLED=0 GOOS=linux GOARCH=386 go vet work
	for dir in $(libraries); do
		packages+=("./${dir#"$root/"}/...")
	done
	echo "js/wasm ${packages[*]}"
	GOOS=js GOARCH=wasm go build "${packages[@]}"
}

# The assembly of fec is what its generator writes, and what this processor does
# not run passes the same tests: arm64 under emulation, and plain Go.
step_kernels() {
	local dir=fec/internal/gf256 name
	(cd "$dir/_gen" && GOWORK=off go vet ./... && GOWORK=off go run . -out "$tmp")
	for name in amd64 arm64; do
		cmp "$dir/zkernels_$name.s" "$tmp/zkernels_$name.s"
	done
	for dir in fec/internal/gf256 fec/raptorq; do
		name=$(basename "$dir")
		CGO_ENABLED=0 GOARCH=arm64 go test -c -o "$tmp/$name.test" "./$dir"
		(cd "$dir" && qemu-aarch64-static "$tmp/$name.test" -test.short)
		go test -tags purego -short "./$dir"
	done
}

# module DIR: fetches and tests the module in DIR.
module() {
	local dir=$1 path
	path=$(sed -n 's/^module //p' "$dir/go.mod")
	export GOMODCACHE=$tmp/modcache/${path//\//_}
	echo "=== $path"
	mkdir -p "$tmp/user/$path" "$GOMODCACHE"
	if [[ $dir == "$root" ]]; then
		# The root is commands, which are installed, not imported.
		[[ ! -d cmd ]] || (cd "$tmp" && GOFLAGS=-trimpath GOBIN=$tmp/bin go install "$path/cmd/...@$version")
	else
		cd "$tmp/user/$path"
		export GOFLAGS="-mod=mod -trimpath"
		go mod init example.org/user
		go get -t "$path/...@$version"
		go test -vet=off -short "$path/..."
	fi
	chmod -R u+w "$GOMODCACHE"
	rm -rf "$GOMODCACHE"
}

# Each module alone, as a third party gets it: fetched from a proxy of this tree
# into an empty module cache, and tested there. Other modules come from the
# cache of this machine or from the proxy that is configured. Paths are trimmed,
# so that what does not change is not compiled again for each new module cache.
step_modules() {
	local dir version=v0.1.0 dirs full=()
	mapfile -t dirs < <(modules)
	for dir in "${dirs[@]}"; do
		# A module of which only the place is laid out has nothing to test.
		if (cd "$dir" && go list -f '{{.GoFiles}}{{.TestGoFiles}}' ./...) | grep -qv '^\[doc.go\]\[\]$'; then
			full+=("$dir")
		fi
	done
	tool modproxy -out "$tmp/proxy" -version "$version" "${dirs[@]}"

	local GOPROXY GONOSUMDB
	GOPROXY="file://$tmp/proxy,file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
	GONOSUMDB=$(sed -n 's/^module //p' go.mod)
	export GOPROXY GONOSUMDB GOWORK=off
	export -f module
	export tmp root version
	# Two at a time, since each resolves, fetches, links and waits for timers by
	# turns. Each has a module cache of its own.
	# shellcheck disable=SC2016
	printf '%s\n' "${full[@]}" | xargs -P 2 -I DIR bash -c '
		log=$tmp/module-$$ code=0
		bash -euo pipefail -c "module \"\$0\"" "$0" >"$log" 2>&1 || code=1
		cat "$log"
		((code == 0)) || echo "FAIL the module in $0"
		exit $code' DIR
}

# 10 s of every fuzz target ($FUZZTIME), two at a time. All packages are built at
# once, with coverage of the workspace and of the parsers under it: -fuzz would
# compile the whole standard library anew, and takes one package at a time.
step_fuzz() {
	local package folder file rest=() named=() flags=()
	go list -f '{{$p := .ImportPath}}{{$d := .Dir}}{{range .TestGoFiles}}{{$p}} {{$d}} {{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$p}} {{$d}} {{.}}{{"\n"}}{{end}}' work |
		while read -r package folder file; do
			[[ -z $package ]] || sed -n "s|^func \(Fuzz[A-Za-z0-9_]*\)(.*|$package $folder \1|p" "$folder/$file"
		done >"$tmp/targets"
	wc -l <"$tmp/targets"
	[[ -s $tmp/targets ]] || return 66
	for package in "$(sed -n 's/^module //p' go.mod)/..." encoding/json encoding/xml compress/... mime/... github.com/goccy/go-yaml/...; do
		flags+=("-gcflags=$package=-d=libfuzzer")
	done
	mkdir "$tmp/fuzz" "$tmp/fuzz/new"
	mapfile -t rest < <(cut -d ' ' -f 1 "$tmp/targets" | sort -u)
	while ((${#rest[@]})); do
		# Of packages with the same last element, one at a time.
		mapfile -t named < <(printf '%s\n' "${rest[@]}" | awk -F / '!seen[$NF]++')
		go test -c "${flags[@]}" -o "$tmp/fuzz/new/" "${named[@]}"
		for package in "${named[@]}"; do
			mv "$tmp/fuzz/new/${package##*/}.test" "$tmp/fuzz/${package//\//_}"
		done
		mapfile -t rest < <(printf '%s\n' "${rest[@]}" | awk -F / 'seen[$NF]++')
	done
	export tmp cache
	cache=$(go env GOCACHE)/fuzz
	# A target's minimisation of interesting inputs is cut short, since it
	# counts on top of the fuzzing time.
	# shellcheck disable=SC2016
	xargs -P 2 -L 1 bash -c '
		log=$tmp/fuzz-$$
		cd "$1"
		if "$tmp/fuzz/${0//\//_}" -test.run "^\$" -test.fuzz "^$2\$" -test.fuzztime="${FUZZTIME:-10s}" -test.fuzzminimizetime=10x \
			-test.parallel=1 -test.fuzzcachedir="$cache/$0" >"$log" 2>&1; then
			echo "ok   $0 $2: $(grep -o "execs: [0-9]*" "$log" | tail -n 1)"
		elif grep -q "context deadline exceeded" "$log" && ! grep -qE "Failing input|panic" "$log"; then
			# The end of the time caught a worker at work: no finding.
			echo "ok   $0 $2: ended late, $(grep -o "execs: [0-9]*" "$log" | tail -n 1)"
		else
			echo "FAIL $0 $2"; cat "$log"; exit 1
		fi
		! grep -q "not built with coverage" "$log" || { echo "FAIL $0 $2: without coverage"; exit 1; }' <"$tmp/targets"
}

# Once each, so that they do not rot; those that step quiet runs are left to it.
# Packages without any are not even built.
step_benchmarks() {
	local dir
	while read -r dir; do
		! grep -q '^func Benchmark' "$dir"/*_test.go 2>/dev/null || echo "$dir"
	done < <(go list -f '{{.Dir}}' work) >"$tmp/packages"
	[[ -s $tmp/packages ]]
	xargs go test -vet=off -run '^$' -bench . -skip '^Benchmark(Latency|Seals)$' -benchtime=1x <"$tmp/packages"
}

# concurrent prints the packages whose tests can race: those of which the tests
# reach, in the workspace, a file that starts goroutines, shares memory or serves
# HTTP.
concurrent() {
	local package dir
	go list -f '{{.ImportPath}} {{.Dir}}' work | while read -r package dir; do
		! grep -qE '(^|[^[:alnum:]_/."])go (func\b|[[:alnum:]_.]+\()|\.Go\(|\bchan\b|AfterFunc|Parallel\(|synctest|"sync|"net/http' "$dir"/*.go ||
			echo "$package"
	done >"$tmp/concurrent"
	[[ -s $tmp/concurrent ]]
	go list -test -f '{{if not .ForTest}}{{.ImportPath}} {{join .Deps " "}}{{end}}' work |
		awk 'NR == FNR { is[$1]; next }
			sub(/\.test$/, "", $1) { found = $1 in is; for (i = 2; i <= NF; i++) found = found || $i in is; if (found) print $1 }' \
			"$tmp/concurrent" -
}

# Packages without concurrency gain nothing from the race detector and take
# many times as long with it. Step vet has looked at all of them. Some wait for
# timers more than they compute: three at a time.
step_race() {
	concurrent | grep -vE '/(fec|test)(/|$)' | xargs go test -vet=off -race -short -shuffle=on -p 3
}

step_lab() {
	[[ -x .ci/lab ]] || return 66
	.ci/lab
}

# The figures that only a machine with nothing else to do can show. What runs
# there nevertheless makes them worse, never better: of each figure the best of
# three attempts counts.
step_quiet() {
	local failed=0 name attempt
	go test -c -o "$tmp/e2e.test" ./test/e2e
	go test -c -o "$tmp/amt.test" ./amt
	# best DIRECTORY PROGRAM FLAGS
	best() {
		for attempt in 1 2 3; do
			echo "=== ${*:3}, attempt $attempt"
			(cd "$1" && TREEDN_QUIET=1 "$tmp/$2" -test.v "${@:3}") && return
		done
		failed=1
	}
	for name in TestLoss TestFragmentOvertakesSegment TestHostileSender; do
		best test/e2e e2e.test -test.run "^$name\$"
	done
	for name in BenchmarkLatency BenchmarkSeals; do
		best test/e2e e2e.test -test.run '^$' -test.bench "^$name\$" -test.benchtime 1x
	done
	best amt amt.test -test.run '^TestFanOutCost$'
	return $failed
}

# guest_packages installs what the guest of step amt-kernel needs.
guest_packages() {
	local packages=() have sudo=()
	((EUID == 0)) || sudo=(sudo -n)
	for have in qemu-system-x86_64:qemu-system-x86 gcc:gcc make:make xz:xz-utils python3:python3 ip:iproute2 strip:binutils flock:util-linux; do
		command -v "${have%%:*}" >/dev/null || packages+=("${have##*:}")
	done
	[[ -f /usr/include/stdio.h ]] || packages+=(libc6-dev)
	# The guest's kernel comes from there, too. Another one may be installing.
	"${sudo[@]}" apt-get -o DPkg::Lock::Timeout=120 update -qq || true
	((${#packages[@]} == 0)) || "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}" ||
		{ echo "${packages[*]} cannot be installed" && return 66; }
}

# What .ci/run does beside earlier steps, so that amt-kernel does not wait for
# downloads and compilers.
step_amt-kernel-prepare() {
	guest_packages
	"$root/amt/testdata/kernel/build.sh"
}

# The AMT tunnels against the Linux kernel's own AMT module, in a guest. It is
# left out only where the guest's packages cannot be had.
step_amt-kernel() {
	local code=0
	guest_packages || { code=$? && echo "left out: QEMU is missing" && return $code; }
	TREEDN_QUIET=1 amt/testdata/kernel/test.sh || code=$?
	((code != 66)) || echo "left out: the guest's kernel cannot be downloaded"
	return $code
}

# The README's command, without the analysis, which step vet has done, and with
# one package more at a time, since those that play in real time mostly wait.
step_test() {
	GOFLAGS='-vet=off -p=3' gotest work
}

"step_$1"
