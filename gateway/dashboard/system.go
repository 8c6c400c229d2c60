package dashboard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// Vendor is one provider as the operator set it up: what may be shown of it, never its secret.
type Vendor struct {
	Name, Kind, Host string
	Priority, Weight int
	Models           []string // empty: everything
	Simulated        bool
	TestKeys         bool
	Health           string // "ok" or why it is not asked now
}

// Gas is the wallet that pays for collecting on one network.
type Gas struct {
	Network, Account string
	BalanceWei       string
	Payments         int64 // how many collecting transactions it lasts at present fees
	Low              bool
	At               time.Time
}

// pricesShown bounds what a search in the price book lists.
const pricesShown = 100

func (s *Surface) providers(r *request) error {
	v := grid{Title: "Providers", Heads: heads("Provider", "Kind", "Host", "Serves", "Keys", "#Order", "#Weight", "Health"), Empty: "No provider is set up: calls are not served, and events can only be posted."}
	for _, x := range s.Vendors() {
		models, ledger, name := "every model", "live", cell{Text: x.Name}
		if len(x.Models) > 0 {
			models = strings.Join(x.Models, ", ")
		}
		if x.TestKeys {
			ledger = "test"
		}
		if x.Simulated {
			name.Text += " (simulated)"
		}
		class := "good"
		if x.Health != "ok" {
			class = "bad"
		}
		v.Rows = append(v.Rows, []cell{name, text(x.Kind), text(x.Host), text(models), text(ledger), num(strconv.Itoa(x.Priority)), num(strconv.Itoa(x.Weight)), badge(x.Health, class)})
	}
	search := strings.TrimSpace(r.Query("model"))
	prices := s.prices(search)
	p := providersPage{Search: search, Version: s.Card.Version, Vendors: v, Prices: prices}
	return r.show("Providers and prices", "providers.html", false, p)
}

type providersPage struct {
	Search  string
	Version string
	Vendors grid
	Prices  grid
}

// prices is the rows in force now for models whose name holds a word.
func (s *Surface) prices(search string) grid {
	g := grid{Title: "Prices", Heads: heads("Model", "Whose price", "#Input, USD per million tokens", "#Cached input", "#Output", "In force since", "From"), Empty: "No model in the price book has this in its name. What has no price costs “unknown”, never 0."}
	names := s.Card.Names()
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.Contains(strings.ToLower(n), strings.ToLower(search)) })
	if len(names) > pricesShown {
		g.Note = fmt.Sprintf("%s of %s models; search to see the others.", count(pricesShown), count(len(names)))
		names = names[:pricesShown]
	}
	now := s.Now()
	for _, name := range names {
		row, ok := s.Card.Lookup(now, name)
		if !ok {
			continue
		}
		since := text("ever")
		if !row.EffectiveFrom.IsZero() {
			since = text(row.EffectiveFrom.UTC().Format("2 Jan 2006"))
		}
		g.Rows = append(g.Rows, []cell{{Text: name, Title: row.ID}, text(row.Provider), rateCell(row.Rates, "input"), rateCell(row.Rates, "cached_input"), rateCell(row.Rates, "output"), since, {Text: row.Source.Name, Title: join(row.Source.Name, row.Source.Version, row.Source.Retrieved)}})
	}
	return g
}

func rateCell(rates meter.Rates, class string) cell {
	u, ok := rates[class]
	if !ok {
		return num("–")
	}
	return num(plainUSD(u))
}

func plainUSD(u money.USD) string { return signed(u.String()) }

func (s *Surface) system(r *request) error {
	ctx := r.Request.Context()
	queues, err := s.Store.Queues(ctx, r.session.TenantID)
	if err != nil {
		return err
	}
	applied, last, err := s.Store.Migrations(ctx)
	if err != nil {
		return err
	}
	now := s.Now()
	q := grid{Title: "What waits", Heads: heads("Queue", "#Waiting", "Oldest")}
	for _, x := range queues {
		age := text("–")
		if x.Oldest != nil && x.Count > 0 {
			age = text(now.Sub(*x.Oldest).Truncate(time.Second).String())
		}
		class := ""
		if x.Count > 0 && (x.Name == "payments lost" || x.Name == "refunds due") {
			class = "warn"
		}
		q.Rows = append(q.Rows, []cell{text(x.Name), {Text: count(x.Count), Num: true, Class: class}, age})
	}
	g := grid{Title: "Gas", Heads: heads("Network", "Wallet", "#Balance, wei", "#Lasts for payments", "State", "Read"), Empty: "Settlement is off, or its worker has not looked at the wallet yet."}
	for _, x := range s.Gas() {
		state := badge("ok", "good")
		if x.Low {
			state = badge("top it up", "bad")
		}
		g.Rows = append(g.Rows, []cell{text(x.Network), {Text: short(x.Account), Title: x.Account}, num(grouped(x.BalanceWei)), num(count(x.Payments)), state, text(now.Sub(x.At).Truncate(time.Second).String() + " ago")})
	}
	h := grid{Title: "Providers", Heads: heads("Provider", "Health")}
	for _, v := range s.Vendors() {
		class := "good"
		if v.Health != "ok" {
			class = "bad"
		}
		h.Rows = append(h.Rows, []cell{text(v.Name), badge(v.Health, class)})
	}
	p := gridPage{Heading: "System", Lead: "What this installation is and what it still has to do for this tenant.",
		Figures: []figure{{Label: "Version", Value: s.Version}, {Label: "Database", Value: "ok", Note: plural(applied, "migration") + ", last " + last}, {Label: "Price book", Value: clip(s.Card.Version)}},
		Grids:   []section{{Heading: "What waits", Grid: q}, {Heading: "Gas", Grid: g}, {Heading: "Providers", Grid: h}}}
	return r.show("System", "grids.html", false, p)
}

// privacy says what is kept of a call and what never is.
func (s *Surface) privacy(r *request) error {
	kept := grid{Title: "What is kept", Heads: heads("Kept of each call", "Never kept")}
	never := []string{"Prompts and messages", "Answers", "Files, images and audio", "Tool arguments and results", "Embeddings", "Hashes of any of these"}
	for i, word := range []string{"Ids and the owners the caller named", "The key's id, the model and the vendor", "Token counts by class", "Cost, its arithmetic and its price version", "Decision, deny code, budget and policy", "Outcome, payment and receipt, times and latency"} {
		kept.Rows = append(kept.Rows, []cell{text(word), text(never[i])})
	}
	p := gridPage{Heading: "Privacy", Lead: "The mode in force decides what is kept beside the economics of a call. A request may ask for a tighter mode with X-P402-Privacy-Mode, never for a looser one.",
		Figures: []figure{{Label: "Mode in force", Value: "metadata_only", Note: "for the whole tenant"}, {Label: "Prompts stored", Value: "no"}, {Label: "Answers stored", Value: "no"}},
		Grids:   []section{{Grid: kept}}}
	return r.show("Privacy", "grids.html", false, p)
}
