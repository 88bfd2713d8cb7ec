package shop

import "slices"

// Names are the names by which the shop's telemetry knows services, hosts, operations and subjects.
func Names() []string {
	return slices.Concat(Processes()[1:], []string{ // the broker's name is its maker's
		"acquirer.example", "supplier.example", "stock-db",
		"GET /departments/{category}", "GET /articles/{sku}", "POST /basket", "POST /purchases", "POST /business/quotes",
		"POST /internal/prices", "POST /internal/orders", "POST /card-payments", "GET /offers",
		inventoryService, "ListProducts", "GetProduct", "CheckAvailability", "ReserveStock", "ReleaseStock", "QuoteLines",
		"change offer", subjectPlaced, subjectChanged, streamOrders, streamOffers, "slow-validation",
	})
}

// Messages are the texts of the lines that the services log.
func Messages() []string {
	return []string{
		"article not found", "article sold out", "acquirer request repeated", "basket not priced", "card charged",
		"card declined", "card payment failed", "confirmation sent", "discounts stored", "event not acknowledged",
		"event not processed", "home page without offers", "inventory request failed", "no lead time from supplier",
		"offer changed", "offer not announced", "page failed", "page served", "quote made", "reservation not released",
		"sale completed", "sale declined", "sale not completed", "stock released", "stock reserved",
	}
}
