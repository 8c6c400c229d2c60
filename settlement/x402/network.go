package x402

// v1Network is a row of v1's table of network names.
type v1Network struct {
	id     string // CAIP-2
	name   string
	legacy bool // known to the 1.2.0 clients, which throw on any other name
}

// v1Networks is the table of the released packages: those marked legacy by 1.2.0, all by 2.x.
var v1Networks = []v1Network{
	{"eip155:8453", "base", true}, {"eip155:84532", "base-sepolia", true},
	{"eip155:43114", "avalanche", true}, {"eip155:43113", "avalanche-fuji", true},
	{"eip155:137", "polygon", true}, {"eip155:80002", "polygon-amoy", true},
	{"eip155:2741", "abstract", true}, {"eip155:11124", "abstract-testnet", true},
	{"eip155:4689", "iotex", true}, {"eip155:1329", "sei", true}, {"eip155:1328", "sei-testnet", true},
	{"eip155:3338", "peaq", true}, {"eip155:1514", "story", true}, {"eip155:41923", "educhain", true},
	{"eip155:324705682", "skale-base-sepolia", true},
	{"eip155:1", "ethereum", false}, {"eip155:11155111", "sepolia", false},
	{"eip155:4326", "megaeth", false}, {"eip155:143", "monad", false}, {"eip155:988", "stable", false},
	{"eip155:2201", "stable-testnet", false}, {"eip155:42220", "celo", false}, {"eip155:14", "flare", false},
}

// V1Name is v1's name of a CAIP-2 network, if it has one: for answers to v1 payments and for /supported. A private
// chain has none.
func V1Name(network string) (string, bool) {
	for _, n := range v1Networks {
		if n.id == network {
			return n.name, true
		}
	}
	return "", false
}

// V1LegacyName is v1's name of a CAIP-2 network if the legacy client knows it: for offers, where one name unknown to that
// client breaks its whole call.
func V1LegacyName(network string) (string, bool) {
	for _, n := range v1Networks {
		if n.id == network && n.legacy {
			return n.name, true
		}
	}
	return "", false
}

// FromV1Name is the CAIP-2 id of a v1 name. Letter case counts.
func FromV1Name(name string) (string, bool) {
	for _, n := range v1Networks {
		if n.name == name {
			return n.id, true
		}
	}
	return "", false
}
