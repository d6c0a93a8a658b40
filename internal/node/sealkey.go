package node

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/treedn/treedn/internal/config"
)

// SealKey returns the key that seals for a service: the configured one, or one of the node's own, which is made at the
// first start and kept in the state directory. Without such a directory it lives as long as the process. The log says the
// public half, which receivers need.
func SealKey(n config.Node, configured config.SealKey, service string, log *slog.Logger) (ed25519.PrivateKey, error) {
	key, where := configured.Private(), "the configuration"
	if key == nil && n.StateDir != "" {
		file, err := sealFile(n, service, ".key")
		if err != nil {
			return nil, err
		}
		kept, err := config.KeepSealKey(file)
		if err != nil {
			return nil, fmt.Errorf("seal key: %w", err)
		}
		key, where = kept.Private(), file
	}
	if key == nil {
		key = config.GenerateSealKey().Private()
		log.Warn("seals with a key that ends with this process: give it a seal_key or node.state_dir", "service", service, "public", public(key))
		return key, nil
	}
	log.Info("seals", "service", service, "public", public(key), "key", where)
	return key, nil
}

func public(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// sealFile names a file in the state directory, and makes the directory.
func sealFile(n config.Node, service, suffix string) (string, error) {
	dir := filepath.Join(string(n.StateDir), "seal")
	return filepath.Join(dir, service+suffix), os.MkdirAll(dir, 0o700)
}

// SealState is the file in which the time of a service's seals is kept; empty if the node keeps no state.
func SealState(n config.Node, service string) (string, error) {
	if n.StateDir == "" {
		return "", nil
	}
	return sealFile(n, service, ".time")
}
