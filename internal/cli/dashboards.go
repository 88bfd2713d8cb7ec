package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"triage/client"
)

func dashboardsCommand(o *options) *cobra.Command {
	return listGroup(&cobra.Command{
		Use:     "dashboards",
		Aliases: []string{"dashboard"},
		Short:   "Dashboards: panels of all signals, as JSON; Grafana's and CloudWatch's can be imported",
	}, dashboardsList(o), dashboardsShow(o), dashboardsPut(o), dashboardsImport(o), dashboardsVersions(o), dashboardsRestore(o), dashboardsDelete(o), dashboardsSchema(o))
}

func dashboardsList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List dashboards",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			list, err := e.client.Dashboards(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"dashboards": nonNil(list)})
			}
			t := e.newTable("NAME", "TITLE", ">PANELS", ">VERSION", "AT (UTC)", "BY", "DESCRIPTION")
			for _, d := range list {
				name, title, about := d.Head()
				version, at := any(d.Version), clock(d.At)
				if d.Version == 0 {
					version, at = "-", "came with triage"
				}
				t.add(name, title, d.Panels, version, at, fallback(d.By, "-"), about)
			}
			return t.print("no dashboards")
		}),
	}
}

func dashboardsShow(o *options) *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use:               "show NAME",
		Short:             "Print a dashboard as JSON that put takes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completeDashboards,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			d, err := e.client.Dashboard(ctx, args[0], version)
			if err != nil {
				return err
			}
			return e.printJSON(d.Document)
		}),
	}
	cmd.Flags().IntVar(&version, "version", 0, "as it was then (as it is without it)")
	return cmd
}

func dashboardsPut(o *options) *cobra.Command {
	var file string
	var a actFlags
	cmd := &cobra.Command{
		Use:   "put -f FILE",
		Short: "Save dashboards as new versions of those of their names",
		Long:  `put reads dashboards as YAML or JSON, as show prints them. The file "-" is the standard input.`,
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return badUsage(cmd, errors.New("name the file with -f FILE, or -f - for the standard input"))
			}
			list, err := readDocuments(cmd, file, "a dashboard")
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				by, err := a.who()
				if err != nil {
					return err
				}
				stored := []client.Dashboard{}
				for i, doc := range list {
					d, err := e.client.PutDashboard(ctx, doc, by, a.note)
					if err != nil {
						return fmt.Errorf("dashboard %d of %d in %s: %w", i+1, len(list), file, err)
					}
					stored = append(stored, d)
				}
				return e.printSaved(stored)
			})(cmd, nil)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file with the dashboards")
	a.flags(cmd, true)
	return cmd
}

func (e *env) printSaved(list []client.Dashboard) error {
	if e.json {
		return e.printJSON(map[string]any{"dashboards": list})
	}
	for _, d := range list {
		name, _, _ := d.Head()
		if err := e.printf("%s saved as version %d: %s/dashboards/%s\n", clean(name), d.Version, e.client.URL(), clean(name)); err != nil {
			return err
		}
	}
	return nil
}

func dashboardsImport(o *options) *cobra.Command {
	var name string
	var save bool
	var a actFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a dashboard of Grafana's or CloudWatch's, and say what could not be taken over",
		Long: `import reads Grafana's JSON model (also as its API answers) or the body of a CloudWatch dashboard (also as
aws cloudwatch get-dashboard prints it). The dashboard goes to the standard output, or is saved with --save; what could not be taken over
goes to the standard error. The file "-" is the standard input.`,
		Example: `  triage dashboards import shop.json                   # look first
  triage dashboards import shop.json --save            # then save it
  aws cloudwatch get-dashboard --dashboard-name shop | triage dashboards import - --name shop --save`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			var text []byte
			var err error
			if argv[0] == "-" {
				text, err = io.ReadAll(cmd.InOrStdin())
			} else {
				text, err = os.ReadFile(argv[0])
			}
			if err != nil {
				return badUsage(cmd, err)
			}
			return o.run(func(ctx context.Context, e *env, _ []string) error {
				made, err := e.client.ImportDashboard(ctx, string(text), name)
				if err != nil {
					return err
				}
				if e.json && !save {
					return e.printJSON(made)
				}
				for _, l := range made.Lost {
					if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "not taken over: %s: %s\n", clean(l.Where), clean(l.What)); err != nil {
						return err
					}
				}
				if !save {
					return e.printJSON(made.Document)
				}
				by, err := a.who()
				if err != nil {
					return err
				}
				d, err := e.client.PutDashboard(ctx, made.Document, by, fallback(a.note, "imported from "+made.Format))
				if err != nil {
					return err
				}
				return e.printSaved([]client.Dashboard{d})
			})(cmd, nil)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what it is called here (made of its title without it)")
	cmd.Flags().BoolVar(&save, "save", false, "save it")
	a.flags(cmd, true)
	return cmd
}

func dashboardsVersions(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "versions NAME",
		Short:             "List versions of a dashboard, newest first, also of one that was deleted",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completeDashboards,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			list, err := e.client.DashboardVersions(ctx, args[0])
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(map[string]any{"versions": nonNil(list)})
			}
			t := e.newTable(">VERSION", "AT (UTC)", "BY", "NOTE", "TITLE")
			for _, d := range list {
				_, title, _ := d.Head()
				at := clock(d.At)
				if d.Version == 0 {
					at = "came with triage"
				}
				t.add(d.Version, at, fallback(d.By, "-"), fallback(d.Note, "-"), title)
			}
			return t.print("no versions")
		}),
	}
}

func dashboardsRestore(o *options) *cobra.Command {
	var a actFlags
	var version int
	cmd := &cobra.Command{
		Use:               "restore NAME --version N",
		Short:             "Save an old version as the newest",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: o.completeDashboards,
		RunE: func(cmd *cobra.Command, argv []string) error {
			if version < 1 {
				return badUsage(cmd, errors.New("name the version with --version N; triage dashboards versions lists them"))
			}
			return o.run(func(ctx context.Context, e *env, args []string) error {
				by, err := a.who()
				if err != nil {
					return err
				}
				old, err := e.client.Dashboard(ctx, args[0], version)
				if err != nil {
					return err
				}
				d, err := e.client.PutDashboard(ctx, old.Document, by, fallback(a.note, fmt.Sprintf("as in version %d", version)))
				if err != nil {
					return err
				}
				return e.printSaved([]client.Dashboard{d})
			})(cmd, argv)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "which one")
	a.flags(cmd, true)
	return cmd
}

func dashboardsDelete(o *options) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME...",
		Short:             "Delete dashboards; their versions remain and can be restored",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: o.completeDashboards,
		RunE: o.run(func(ctx context.Context, e *env, args []string) error {
			for _, name := range args {
				if err := e.client.DeleteDashboard(ctx, name); err != nil {
					return fmt.Errorf("delete dashboard %s: %w", name, err)
				}
			}
			if e.json {
				return e.printJSON(map[string]any{"deleted": args})
			}
			return e.printf("%s deleted\n", plural(len(args), "dashboard"))
		}),
	}
}

func dashboardsSchema(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of dashboards, for editors",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			schema, err := e.client.DashboardSchema(ctx)
			if err != nil {
				return err
			}
			return e.printJSON(json.RawMessage(schema))
		}),
	}
}

func (o *options) completeDashboards(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completer(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		list, _ := c.Dashboards(ctx)
		for _, d := range list {
			name, title, _ := d.Head()
			out = append(out, cobra.CompletionWithDesc(clean(name), clean(title)))
		}
		return out
	})(cmd, args, word)
}
