package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDCConfig is an OpenID Connect issuer that vouches for members' addresses, and our registration with it.
type OIDCConfig struct {
	Name         string // what the button says: "Sign in with NAME"
	Issuer       string // its URL, as in its discovery document
	ClientID     string
	ClientSecret string
	RedirectURL  string // ours: …/sign-in/oidc/callback
}

// OIDC signs in by an issuer's word: authorization code with PKCE, state and nonce. The issuer is asked when first needed, so
// that its absence does not stop a start.
type OIDC struct {
	cfg    OIDCConfig
	now    func() time.Time
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
}

// oidcTimeout bounds each question to the issuer.
const oidcTimeout = 10 * time.Second

// NewOIDC returns an OIDC for one issuer. Nothing is asked yet.
func NewOIDC(cfg OIDCConfig, now func() time.Time) *OIDC {
	return &OIDC{cfg: cfg, now: now, client: &http.Client{Timeout: oidcTimeout}}
}

// Name is what people know the issuer by.
func (o *OIDC) Name() string { return o.cfg.Name }

// OIDCTrip is what a browser carries to the issuer and back; it is sealed on the way.
type OIDCTrip struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Next     string    `json:"x"`
	Until    time.Time `json:"u"`
}

// tripFor is how long somebody may take at the issuer.
const tripFor = 10 * time.Minute

func (o *OIDC) ready(ctx context.Context) (oauth2.Config, *oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier == nil {
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, o.client), o.cfg.Issuer)
		if err != nil {
			return oauth2.Config{}, nil, fmt.Errorf("read the issuer's discovery document: %w", err)
		}
		// The verifier fetches keys later on, when this request's context is over.
		o.verifier = p.VerifierContext(oidc.ClientContext(context.WithoutCancel(ctx), o.client), &oidc.Config{ClientID: o.cfg.ClientID, Now: o.now})
		o.endpoint = p.Endpoint()
	}
	return oauth2.Config{ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret, Endpoint: o.endpoint, RedirectURL: o.cfg.RedirectURL, Scopes: []string{oidc.ScopeOpenID, "email"}}, o.verifier, nil
}

// Begin is the issuer's address to send a browser to, and what it has to come back with.
func (o *OIDC) Begin(ctx context.Context, next string) (address string, trip OIDCTrip, err error) {
	cfg, _, err := o.ready(ctx)
	if err != nil {
		return "", OIDCTrip{}, err
	}
	trip = OIDCTrip{State: oauth2.GenerateVerifier(), Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Next: next, Until: o.now().Add(tripFor)}
	return cfg.AuthCodeURL(trip.State, oidc.Nonce(trip.Nonce), oauth2.S256ChallengeOption(trip.Verifier)), trip, nil
}

// errOIDC is every way in which an issuer's word does not count; the cause is for the log.
var errOIDC = errors.New("the issuer's answer does not sign anybody in")

// Finish is the address that the issuer has verified, for the browser that began the trip.
func (o *OIDC) Finish(ctx context.Context, trip OIDCTrip, state, code string) (email string, err error) {
	if trip.State == "" || state != trip.State || trip.Until.Before(o.now()) {
		return "", fmt.Errorf("%w: another browser began, or it took too long", errOIDC)
	}
	cfg, verifier, err := o.ready(ctx)
	if err != nil {
		return "", err
	}
	ctx = oidc.ClientContext(ctx, o.client)
	token, err := cfg.Exchange(ctx, code, oauth2.VerifierOption(trip.Verifier))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errOIDC, err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", fmt.Errorf("%w: no id_token", errOIDC)
	}
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errOIDC, err)
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}
	if err := id.Claims(&claims); err != nil {
		return "", fmt.Errorf("%w: %w", errOIDC, err)
	}
	if id.Nonce != trip.Nonce || claims.Email == "" || !claims.Verified {
		return "", fmt.Errorf("%w: another nonce, or no verified address", errOIDC)
	}
	return claims.Email, nil
}
