package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"p402.io/p402/internal/app"
	"p402.io/p402/internal/credential"
	"p402.io/p402/internal/provider"
	"p402.io/p402/settlement"
)

// fileConfig is the configuration file; every field can be set in the environment instead (docs/running.md).
type fileConfig struct {
	Listen string `yaml:"listen"`
	// MetricsListen is where /metrics is served: never the public address. Left out it is 127.0.0.1 on the port above Listen's.
	MetricsListen string `yaml:"metrics_listen"`
	DatabaseURL   string `yaml:"database_url"`
	// SpoolDir keeps the ends of calls on this machine's disk while the database is away. Each process needs its own.
	SpoolDir string `yaml:"spool_dir"`
	// Origins is the web origins whose pages may call the keyed surfaces; none by default.
	Origins []string `yaml:"origins"`
	Vendor  struct {
		Name         string `yaml:"name"`
		BaseURL      string `yaml:"base_url"`
		APIKey       string `yaml:"api_key"`
		AllowPrivate bool   `yaml:"allow_private"`
		TestKeys     bool   `yaml:"test_keys"`
	} `yaml:"vendor"`
	PricesFile string              `yaml:"prices_file"`
	Providers  []fileProvider      `yaml:"providers"`
	Aliases    map[string][]string `yaml:"aliases"`
	// OIDC is an issuer that members may sign in by; without it they have links and passwords.
	OIDC *struct {
		Name         string `yaml:"name"`
		Issuer       string `yaml:"issuer"`
		ClientID     string `yaml:"client_id"`
		ClientSecret string `yaml:"client_secret"`
		URL          string `yaml:"url"` // where browsers reach this gateway
	} `yaml:"oidc"`
	Settlement *struct {
		Network string   `yaml:"network"`
		RPC     string   `yaml:"rpc"`
		Key     string   `yaml:"key"`
		PayTo   []string `yaml:"facilitator_pay_to"`
	} `yaml:"settlement"`
}

// fileProvider is one entry of providers: kind names a profile, which knows base URL, auth and what the vendor refuses.
type fileProvider struct {
	Name            string            `yaml:"name"`
	Kind            string            `yaml:"kind"`
	BaseURL         string            `yaml:"base_url"`
	APIKey          string            `yaml:"api_key"`
	APIKeyEnv       string            `yaml:"api_key_env"` // the variable that holds the key, so that the file need not
	Region          string            `yaml:"region"`      // of its endpoint, where prices differ by it
	Prices          string            `yaml:"prices"`      // whose price list its models are of; "" is the kind's own
	Models          []string          `yaml:"models"`
	Aliases         map[string]string `yaml:"aliases"`
	Priority        int               `yaml:"priority"`
	Weight          int               `yaml:"weight"`
	Retries         int               `yaml:"retries"`
	FirstByte       time.Duration     `yaml:"first_byte_timeout"`
	Idle            time.Duration     `yaml:"idle_timeout"`
	ForwardMetadata bool              `yaml:"forward_metadata"`
	AllowPrivate    bool              `yaml:"allow_private"`
	TestKeys        bool              `yaml:"test_keys"`
}

// vendor checks one entry; a key that is named but not there stops at once and not at the first call.
func (p fileProvider) vendor(at int) (app.Vendor, error) {
	if p.Name == "" {
		p.Name = p.Kind
	}
	if p.Name == "" {
		return app.Vendor{}, fmt.Errorf("providers[%d].kind is not set: give one of %v", at, provider.Kinds())
	}
	if p.APIKeyEnv != "" {
		if p.APIKey = os.Getenv(p.APIKeyEnv); p.APIKey == "" {
			return app.Vendor{}, fmt.Errorf("providers[%d].api_key_env: the environment has no %s", at, p.APIKeyEnv)
		}
	}
	profile, known := provider.FindProfile(p.Kind)
	if p.Kind != "" && !known {
		return app.Vendor{}, fmt.Errorf("providers[%d].kind: %q is none of %v", at, p.Kind, provider.Kinds())
	}
	if p.BaseURL == "" && profile.BaseURL == "" {
		return app.Vendor{}, fmt.Errorf("providers[%d].base_url is not set: %s has no address of its own", at, p.Name)
	}
	return app.Vendor{Name: p.Name, Kind: p.Kind, BaseURL: p.BaseURL, APIKey: p.APIKey, Region: p.Region, Prices: p.Prices, Models: p.Models, Aliases: p.Aliases, Priority: p.Priority,
		Weight: p.Weight, Retries: p.Retries, FirstByte: p.FirstByte, Idle: p.Idle, ForwardMetadata: p.ForwardMetadata, AllowPrivate: p.AllowPrivate,
		TestKeys: p.TestKeys, Simulated: p.Kind == "mock"}, nil
}

// loadConfig reads a file, then the environment over it. An unknown or malformed setting stops with its name.
func loadConfig(path string) (app.Config, error) {
	f := fileConfig{Listen: "127.0.0.1:8402", SpoolDir: "p402-spool"}
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return app.Config{}, fmt.Errorf("read configuration: %w", err)
		}
		dec := yaml.NewDecoder(bytes.NewReader(raw))
		dec.KnownFields(true)
		if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
			return app.Config{}, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	for name, into := range map[string]*string{"P402_LISTEN": &f.Listen, "P402_METRICS_LISTEN": &f.MetricsListen, "P402_DATABASE_URL": &f.DatabaseURL, "P402_SPOOL_DIR": &f.SpoolDir, "P402_VENDOR_NAME": &f.Vendor.Name,
		"P402_VENDOR_BASE_URL": &f.Vendor.BaseURL, "P402_VENDOR_API_KEY": &f.Vendor.APIKey, "P402_PRICES_FILE": &f.PricesFile} {
		if value, ok := os.LookupEnv(name); ok {
			*into = value
		}
	}
	if err := f.unknownVariables(os.Environ()); err != nil {
		return app.Config{}, err
	}
	return f.check()
}

// variables is every P402_ name that a p402 command reads; the last eight belong to other commands and the tests.
func variables() []string {
	return []string{"P402_LISTEN", "P402_METRICS_LISTEN", "P402_SPOOL_DIR", "P402_DATABASE_URL", "P402_VENDOR_NAME", "P402_VENDOR_BASE_URL", "P402_VENDOR_API_KEY", "P402_PRICES_FILE",
		"P402_SETTLEMENT_KEY", "P402_OIDC_CLIENT_SECRET",
		"P402_CONFIG", "P402_URL", "P402_KEY", "P402_WALLET_KEY", "P402_PG_BIN", "P402_UPSTREAM_KEY", "P402_USAGE_CASES", "P402_X402_VECTORS"}
}

// unknownVariables stops at a P402_ variable that nothing reads: a misspelt setting must not be a silent default.
func (f fileConfig) unknownVariables(environ []string) error {
	known := variables()
	for _, p := range f.Providers {
		known = append(known, p.APIKeyEnv)
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "P402_") && !strings.HasPrefix(name, "P402_E2E_") && !strings.HasPrefix(name, "P402_TEST_") && !slices.Contains(known, name) {
			return fmt.Errorf("%s is set in the environment and is no setting of p402; the settings are %s", name, strings.Join(variables(), ", "))
		}
	}
	return nil
}

// metricsListen is the address for /metrics: as set, "" for "off", or loopback on the port above the public one.
func (f fileConfig) metricsListen() (string, error) {
	_, port, err := net.SplitHostPort(f.Listen)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	switch {
	case f.MetricsListen == "off":
		return "", nil
	case f.MetricsListen == f.Listen:
		return "", errors.New("metrics_listen (P402_METRICS_LISTEN) is the public address: give another one, such as 127.0.0.1:9402, or off")
	case f.MetricsListen != "":
		if _, _, err := net.SplitHostPort(f.MetricsListen); err != nil {
			return "", fmt.Errorf("metrics_listen (P402_METRICS_LISTEN) is not host:port or off: %w", err)
		}
		return f.MetricsListen, nil
	case err != nil || notNumber != nil || number == 0 || number == 65535:
		return "127.0.0.1:0", nil
	}
	return net.JoinHostPort("127.0.0.1", strconv.FormatUint(number+1, 10)), nil
}

// oidc checks the issuer's part; nil without one.
func (f fileConfig) oidc() (*credential.OIDCConfig, error) {
	if f.OIDC == nil {
		return nil, nil
	}
	c := credential.OIDCConfig{Name: f.OIDC.Name, Issuer: f.OIDC.Issuer, ClientID: f.OIDC.ClientID, ClientSecret: f.OIDC.ClientSecret, RedirectURL: strings.TrimSuffix(f.OIDC.URL, "/") + "/sign-in/oidc/callback"}
	if value, ok := os.LookupEnv("P402_OIDC_CLIENT_SECRET"); ok {
		c.ClientSecret = value
	}
	for name, value := range map[string]string{"oidc.name": c.Name, "oidc.issuer": c.Issuer, "oidc.client_id": c.ClientID, "oidc.client_secret (P402_OIDC_CLIENT_SECRET)": c.ClientSecret, "oidc.url": f.OIDC.URL} {
		if value == "" {
			return nil, fmt.Errorf("%s is not set", name)
		}
	}
	return &c, nil
}

func (f fileConfig) check() (app.Config, error) {
	switch {
	case f.DatabaseURL == "":
		return app.Config{}, errors.New("database_url (P402_DATABASE_URL) is not set: give the URL of a PostgreSQL 15 or later database")
	case f.Vendor.BaseURL == "" && len(f.Providers) > 0:
	case f.Vendor.BaseURL == "":
		return app.Config{}, errors.New("vendor.base_url (P402_VENDOR_BASE_URL) is not set: give an OpenAI-compatible base URL such as https://openrouter.ai/api/v1")
	case f.Vendor.Name == "":
		return app.Config{}, errors.New("vendor.name (P402_VENDOR_NAME) is not set: give the vendor a short name, such as openrouter")
	}
	for _, origin := range f.Origins {
		if u, err := url.Parse(origin); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != origin {
			return app.Config{}, fmt.Errorf("origins: %q is not an origin such as https://app.example.com", origin)
		}
	}
	metrics, err := f.metricsListen()
	if err != nil {
		return app.Config{}, err
	}
	c := app.Config{Listen: f.Listen, MetricsListen: metrics, SpoolDir: f.SpoolDir, DatabaseURL: f.DatabaseURL, Origins: f.Origins, PricesFile: f.PricesFile,
		Vendor: app.Vendor{Name: f.Vendor.Name, BaseURL: f.Vendor.BaseURL, APIKey: f.Vendor.APIKey,
			AllowPrivate: f.Vendor.AllowPrivate, TestKeys: f.Vendor.TestKeys}, Aliases: f.Aliases}
	if c.OIDC, err = f.oidc(); err != nil {
		return app.Config{}, err
	}
	for i, p := range f.Providers {
		v, err := p.vendor(i)
		if err != nil {
			return app.Config{}, err
		}
		c.Vendors = append(c.Vendors, v)
	}
	if f.Settlement == nil {
		return c, nil // metering only: no chain setting is read, also not from the environment
	}
	key := f.Settlement.Key
	if value, ok := os.LookupEnv("P402_SETTLEMENT_KEY"); ok {
		key = value
	}
	_, known := settlement.FindNetwork(f.Settlement.Network)
	switch {
	case !known:
		return c, fmt.Errorf("settlement.network: %q is not a known network; use a CAIP-2 id such as eip155:84532", f.Settlement.Network)
	case f.Settlement.RPC == "":
		return c, errors.New("settlement.rpc is not set: give the JSON-RPC URL of a node of that network")
	case key == "":
		return c, errors.New("settlement.key (P402_SETTLEMENT_KEY) is not set: give the private key of the wallet that pays gas")
	}
	c.Settlement = &app.Settlement{Network: f.Settlement.Network, RPC: f.Settlement.RPC, Key: key, PayTo: f.Settlement.PayTo}
	return c, nil
}
