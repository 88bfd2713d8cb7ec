package demo

import (
	"slices"

	"triage/demo/load"
	"triage/demo/shop"
)

// Names are all names that belong to the shop: services, hosts, operations, subjects, users and texts of messages. None
// of them may occur in the judge's code.
func Names() []string {
	names := slices.Concat(shop.Names(), shop.Messages())
	for i := range load.Users {
		names = append(names, load.User(i))
	}
	return names
}
