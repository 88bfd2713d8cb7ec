package shop

import (
	"math/rand/v2"
	"slices"
)

// Names are the names by which the shop's telemetry knows services, hosts, operations and subjects.
func Names() []string {
	return slices.Concat(Processes()[1:], aliases, hostAliases, []string{ // the broker's name is its maker's
		"acquirer.example", "supplier.example", "stock-db",
		"GET /departments/{category}", "GET /articles/{sku}", "POST /basket", "POST /purchases", "POST /business/quotes",
		"POST /internal/prices", "POST /internal/orders", "POST /card-payments", "GET /offers",
		inventoryService, "ListProducts", "GetProduct", "CheckAvailability", "ReserveStock", "ReleaseStock", "QuoteLines", "Recommend",
		"change offer", subjectPlaced, subjectChanged, streamOrders, streamOffers, slowValidation,
		"payment.acquirer.timeout", "payment.acquirer.tries", "order.inventory.timeout", "order.payment.timeout", "storefront.order.timeout",
		"storefront.inventory.timeout", "inventory.db.pool.size", "inventory.supplier.timeout",
	})
}

// Messages are the texts of the lines that the services log.
func Messages() []string {
	return []string{
		"article not found", "article sold out", "acquirer request repeated", "basket not priced", "card charged",
		"card declined", "card payment failed", "confirmation sent", "discounts stored", "event not acknowledged",
		"event not processed", "home page without offers", "inventory request failed", "no lead time from supplier",
		"offer changed", "offer not announced", "offers not shown", "page failed", "page served", "quote made", "reservation not released",
		"sale completed", "sale declined", "sale not completed", "stock released", "stock reserved",
	}
}

// aliases and hostAliases are names that mean nothing.
var (
	aliases = []string{"alder", "bramble", "cobalt", "fjord", "garnet", "heron", "juniper", "kestrel", "lichen", "nettle",
		"quince", "sorrel"}
	hostAliases = []string{"basalt.example", "api.sycamore.example", "tamarack.example", "gw.pumice.example"}
)

// Rename draws what telemetry calls the services and the hosts outside: made-up names, or each other's. It follows from
// the seed. No name is given twice.
func Rename(seed uint64) map[string]string {
	rng := rand.New(rand.NewPCG(seed, 0x4a3e))
	names := map[string]string{}
	for _, group := range []struct{ own, others []string }{
		{Services(), aliases},
		{[]string{"acquirer.example", "supplier.example"}, hostAliases},
	} {
		pool := slices.Concat(group.own, group.others)
		rng.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		for i, own := range group.own {
			names[own] = pool[i]
		}
	}
	return names
}
