package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
)

// Sealer keeps small secrets unreadable in the database and in a browser's hands: AES-256-GCM under a key of the installation,
// bound to whom the secret is for.
type Sealer struct{ aead cipher.AEAD }

// NewSealer takes a key of 32 bytes.
func NewSealer(key []byte) (*Sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return &Sealer{aead}, err
}

var errSeal = errors.New("a sealed secret is damaged or somebody else's")

// Seal hides plain for one holder.
func (s *Sealer) Seal(plain []byte, holder string) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return s.aead.Seal(nonce, nonce, plain, []byte(holder)), nil
}

// Open is what was sealed for the holder.
func (s *Sealer) Open(sealed []byte, holder string) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, errSeal
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(holder))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
