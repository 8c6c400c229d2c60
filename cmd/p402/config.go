package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"gopkg.in/yaml.v3"

	"p402.io/p402/internal/app"
	"p402.io/p402/settlement"
)

// fileConfig is the configuration file; every field can be set in the environment instead (docs/running.md).
type fileConfig struct {
	Listen      string `yaml:"listen"`
	DatabaseURL string `yaml:"database_url"`
	// Origins is the web origins whose pages may call the keyed surfaces; none by default.
	Origins []string `yaml:"origins"`
	Vendor  struct {
		Name         string `yaml:"name"`
		BaseURL      string `yaml:"base_url"`
		APIKey       string `yaml:"api_key"`
		AllowPrivate bool   `yaml:"allow_private"`
		TestKeys     bool   `yaml:"test_keys"`
	} `yaml:"vendor"`
	Settlement *struct {
		Network string   `yaml:"network"`
		RPC     string   `yaml:"rpc"`
		Key     string   `yaml:"key"`
		PayTo   []string `yaml:"facilitator_pay_to"`
	} `yaml:"settlement"`
}

// loadConfig reads a file, then the environment over it. An unknown or malformed setting stops with its name.
func loadConfig(path string) (app.Config, error) {
	f := fileConfig{Listen: "127.0.0.1:8402"}
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
	for name, into := range map[string]*string{"P402_LISTEN": &f.Listen, "P402_DATABASE_URL": &f.DatabaseURL, "P402_VENDOR_NAME": &f.Vendor.Name,
		"P402_VENDOR_BASE_URL": &f.Vendor.BaseURL, "P402_VENDOR_API_KEY": &f.Vendor.APIKey} {
		if value, ok := os.LookupEnv(name); ok {
			*into = value
		}
	}
	return f.check()
}

func (f fileConfig) check() (app.Config, error) {
	switch {
	case f.DatabaseURL == "":
		return app.Config{}, errors.New("database_url (P402_DATABASE_URL) is not set: give the URL of a PostgreSQL 15 or later database")
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
	c := app.Config{Listen: f.Listen, DatabaseURL: f.DatabaseURL, Origins: f.Origins, Vendor: app.Vendor{Name: f.Vendor.Name, BaseURL: f.Vendor.BaseURL, APIKey: f.Vendor.APIKey,
		AllowPrivate: f.Vendor.AllowPrivate, TestKeys: f.Vendor.TestKeys}}
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
