package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const sound = "database_url: postgres://u:p@localhost/db\nvendor: {name: v, base_url: 'http://localhost:1/v1'}\n"

// A setting that is wrong stops the start and is named.
func TestConfigurationStopsAtWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"unknown setting":   {sound + "databse: x\n", "databse"},
		"wrong type":        {sound + "settlement: {facilitator_pay_to: 7}\n", "line"},
		"metrics in public": {sound + "listen: 127.0.0.1:1\nmetrics_listen: 127.0.0.1:1\n", "metrics_listen"},
		"no metrics port":   {sound + "metrics_listen: nowhere\n", "metrics_listen"},
		"no database":       {"vendor: {name: v, base_url: 'http://localhost:1/v1'}\n", "database_url"},
		"no vendor":         {"database_url: postgres://localhost/db\n", "vendor.base_url"},
		"no name":           {"database_url: postgres://localhost/db\nvendor: {base_url: 'http://localhost:1/v1'}\n", "vendor.name"},
		"unknown kind":      {sound + "providers: [{kind: nobody}]\n", "providers[0].kind"},
		"missing key":       {sound + "providers: [{kind: openai, api_key_env: NOT_SET_ANYWHERE}]\n", "providers[0].api_key_env"},
		"unknown network":   {sound + "settlement: {network: 'eip155:1', rpc: x, key: y}\n", "settlement.network"},
		"no rpc":            {sound + "settlement: {network: 'eip155:84532', key: y}\n", "settlement.rpc"},
		"no settlement key": {sound + "settlement: {network: 'eip155:84532', rpc: x}\n", "settlement.key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "p402.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error that names %s", err, c.says)
			}
		})
	}
}

func TestAMisspeltVariableIsNoSilentDefault(t *testing.T) {
	t.Parallel()
	f := fileConfig{Providers: []fileProvider{{APIKeyEnv: "P402_MY_VENDOR"}}}
	if err := f.unknownVariables([]string{"PATH=/bin", "P402_LISTEN=x", "P402_MY_VENDOR=k"}); err != nil {
		t.Error(err)
	}
	if err := f.unknownVariables([]string{"P402_LISTN=x"}); err == nil || !strings.Contains(err.Error(), "P402_LISTN") {
		t.Errorf("got %v", err)
	}
}

// The compose file is held to what p402 reads, as no engine runs it here.
func TestComposeFileNamesOnlySettingsThatExist(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string
			Environment map[string]string
			DependsOn   map[string]any `yaml:"depends_on"`
		}
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	gateway := file.Services["p402"]
	if gateway.Image == "" || file.Services["postgres"].Image == "" || gateway.DependsOn["postgres"] == nil {
		t.Fatalf("the file lacks a service: %+v", file)
	}
	for name := range gateway.Environment {
		if !slices.Contains(variables(), name) {
			t.Errorf("%s is no setting of p402", name)
		}
	}
	if url := gateway.Environment["P402_DATABASE_URL"]; !regexp.MustCompile(`^postgres://.*@postgres/`).MatchString(url) {
		t.Errorf("the gateway's database is %q, not the service beside it", url)
	}
}

// Without a settlement section no wallet, chain or payment setting is looked at, however wrong it may be.
func TestD4_MeteringReadsNoPaymentSetting(t *testing.T) {
	t.Setenv("P402_SETTLEMENT_KEY", "not a key")
	path := filepath.Join(t.TempDir(), "p402.yaml")
	if err := os.WriteFile(path, []byte(sound), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil || cfg.Settlement != nil {
		t.Fatalf("settlement %+v, %v", cfg.Settlement, err)
	}
}

func TestMetricsHaveAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, set, want string }{
		{"127.0.0.1:8402", "", "127.0.0.1:8403"},
		{"0.0.0.0:80", "", "127.0.0.1:81"}, // not everywhere, as the public address is
		{":0", "", "127.0.0.1:0"},
		{"127.0.0.1:8402", "off", ""},
		{"127.0.0.1:8402", "10.0.0.1:9402", "10.0.0.1:9402"},
	} {
		f := fileConfig{Listen: c.listen, MetricsListen: c.set}
		if got, err := f.metricsListen(); got != c.want || err != nil {
			t.Errorf("listen %s, metrics_listen %q: %q, %v; want %q", c.listen, c.set, got, err, c.want)
		}
	}
}
