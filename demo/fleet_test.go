package demo

import (
	"testing"

	"triage/demo/shop"
)

// TestEveryEdgeHasItsProxy holds that no process can reach another, or the database, but through what stands between
// the two alone.
func TestEveryEdgeHasItsProxy(t *testing.T) {
	f, err := newFleet("", t.TempDir(), "", 1, map[string]string{"order": "alder"}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	f.database = shop.Database{Driver: "pgx", DSN: "postgres://shop:secret@127.0.0.1:1/stock?sslmode=disable"}
	if err := f.connect("inventory", stock, "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, caller := range shop.Processes() {
		cfg, err := f.config(caller, shop.Options{Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Name("order") != "alder" {
			t.Errorf("%s does not know what order is called", caller)
		}
		for host, address := range cfg.Hosts {
			if caller == "nats" {
				continue // which listens there
			}
			if other, twice := seen[address]; twice {
				t.Errorf("%s reaches %s through the proxy of %s", caller, host, other)
			}
			seen[address] = caller
			p, err := f.edge(caller, host)
			if err != nil || p.Addr() != address {
				t.Errorf("%s reaches %s at %s, which is not its proxy: %v", caller, host, address, err)
			}
		}
		if caller == "inventory" {
			p, err := f.edge(caller, stock)
			if want := "postgres://shop:secret@" + p.Addr() + "/stock?sslmode=disable"; err != nil || cfg.Database.DSN != want {
				t.Errorf("inventory's database is %s, %v; want %s", cfg.Database.DSN, err, want)
			}
		}
	}
	for host, address := range f.addresses {
		if caller, direct := seen[address]; direct {
			t.Errorf("%s reaches %s without a proxy", caller, host)
		}
	}
	if _, err := f.edge("payment", "storefront"); err == nil {
		t.Error("an edge that nobody uses was found")
	}
}
