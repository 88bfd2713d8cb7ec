package scenario

import (
	"context"
	"fmt"
	"net/http"

	"triage/demo/load"
	"triage/demo/shop"
	"triage/internal/model"
)

// hotKey is one article that everybody wants to see at once, since it was on television. Inventory may ask the supplier
// about an article by one question at a time, so that they wait for each other; all other articles are shown as ever.
func hotKey() Scenario {
	return Scenario{
		Name:  "hot-key",
		About: "everybody asks for the same article",
		Draw: func(d *Draw) Case {
			path := "/articles/" + shop.SKU(d.Int(77, 0, shop.Assortment()-1))
			crowd := load.Crowd{Method: http.MethodGet, Path: path, Rate: d.Float(60, 55, 75), Most: 250}
			return Case{
				Truths: []Truth{{model.ClassCaller, model.KeyEntity(path), model.HotKey}},
				Target: fmt.Sprintf("%s, %.0f times a second", path, crowd.Rate),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					return background(ctx, func(ctx context.Context) { w.Load.Crowd(ctx, crowd) }), nil
				},
			}
		},
	}
}
