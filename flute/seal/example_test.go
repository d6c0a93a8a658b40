package seal_test

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/treedn/treedn/flute/seal"
)

// arrived is octets that came by multicast.
type arrived []byte

func (a arrived) Prefix() int64          { return int64(len(a)) }
func (a arrived) Complete() bool         { return false }
func (a arrived) Bytes(off int64) []byte { return a[off:] }

// A root seals a segment chunk by chunk. On its way to a receiver the second
// chunk is forged.
func Example() {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

	signer, err := seal.NewSigner(seal.SignerConfig{Service: "live", Key: private})
	if err != nil {
		panic(err)
	}
	verifier, err := seal.NewVerifier(seal.VerifierConfig{
		Service: "live",
		Anchors: []seal.Anchor{{Kind: seal.Content, Key: private.Public().(ed25519.PublicKey)}},
		// A receiver in the wild leaves this out, and asks its parent.
		FirstContact: -1,
	})
	if err != nil {
		panic(err)
	}

	sealing, err := signer.Begin(now, seal.Outgoing{Name: "segment-1.m4s", Generation: 1})
	if err != nil {
		panic(err)
	}
	object, err := verifier.Open(now, "segment-1.m4s", 1)
	if err != nil {
		panic(err)
	}
	var octets arrived
	for _, chunk := range []struct{ sent, received string }{
		{"a frame, ", "a frame, "},
		{"and another", "and a fake!"},
	} {
		sealing.Append([]byte(chunk.sent))
		if err := sealing.Cut(now); err != nil {
			panic(err)
		}
		octets = append(octets, chunk.received...)
		verdict := verifier.Advance(now, object, octets)
		fmt.Printf("%d octets came, %d are readable\n", len(octets), verdict.Readable)

		now = now.Add(5 * time.Millisecond)
		for s, ok := signer.Poll(now); ok; s, ok = signer.Poll(now) {
			if err := verifier.Push(now, s.Bytes(), seal.Multicast); err != nil {
				panic(err)
			}
		}
		verdict = verifier.Advance(now, object, octets)
		fmt.Printf("sealed: %d are readable\n", verdict.Readable)
		if verdict.Forged > 0 {
			fmt.Printf("forged: fetch %d to %d elsewhere\n", verdict.Readable, verdict.Forged)
			verdict = verifier.Check(object, verdict.Readable, []byte(chunk.sent))
			fmt.Printf("fetched: %d are readable\n", verdict.Readable)
		}
	}
	// Output:
	// 9 octets came, 0 are readable
	// sealed: 9 are readable
	// 20 octets came, 9 are readable
	// sealed: 9 are readable
	// forged: fetch 9 to 20 elsewhere
	// fetched: 20 are readable
}
