package config

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Extensions of the files of a key pair.
const (
	privateExt = ".key"
	publicExt  = ".pub"
)

// GenerateSealKey draws a key.
func GenerateSealKey() SealKey {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	return NewSealKey(seed)
}

// Reveal returns the key as a file has it, in base64. It is for whoever writes
// keys, and never for a log.
func (k SealKey) Reveal() string {
	seed, _ := k.Key()
	return base64.StdEncoding.EncodeToString(seed[:])
}

// CreateSealKey draws a key and writes it to a new file, which only its owner
// may read, and the public half to another one beside it: live.key and live.pub.
// A file that is there already is left alone; then the error is fs.ErrExist.
func CreateSealKey(path string) (SealKey, error) {
	if strings.HasSuffix(path, publicExt) {
		return SealKey{}, fmt.Errorf("config: %s is the name of a public key's file", path)
	}
	k := GenerateSealKey()
	if err := createFile(path, k.Reveal()+"\n", 0o600); err != nil {
		return SealKey{}, err
	}
	if err := createFile(PublicKeyFile(path), AnchorOf(k).String()+"\n", 0o644); err != nil {
		return SealKey{}, errors.Join(err, os.Remove(path))
	}
	return k, nil
}

// PublicKeyFile is where CreateSealKey writes the public half of a key.
func PublicKeyFile(path string) string { return strings.TrimSuffix(path, privateExt) + publicExt }

// KeepSealKey returns the key in the file at path. If there is none, it is as
// CreateSealKey.
func KeepSealKey(path string) (SealKey, error) {
	k, err := CreateSealKey(path)
	if !errors.Is(err, fs.ErrExist) {
		return k, err
	}
	k = SealKey{secret{ref: "file:" + path}}
	return k, k.resolve(nil)
}

// createFile leaves no file behind that it could not fill.
func createFile(path, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
