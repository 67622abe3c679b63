package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"gopkg.in/yaml.v3"
)

// checkSyntax checks what neither kubeconform nor promtool reads: the compose file against the Compose specification, the
// collector's configuration and the dashboard, whose queries go to a rules file, for promtool to check.
func checkSyntax(deploy, rules string) error {
	for _, check := range []func() error{
		func() error { return compose(filepath.Join(deploy, "compose/compose.yaml")) },
		func() error { return collector(filepath.Join(deploy, "collector/otel-collector.yaml")) },
		func() error { return dashboard(filepath.Join(deploy, "grafana/dashboard.json"), rules) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// compose loads the file as `docker compose` does, and looks for the files that it mounts.
func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithResolvedPaths(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			if _, err := os.Stat(volume.Source); volume.Type == "bind" && err != nil {
				return fmt.Errorf("%s: service %s: %w", path, name, err)
			}
		}
		if service.Build != nil {
			if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
				return fmt.Errorf("%s: service %s: %w", path, name, err)
			}
		}
	}
	return nil
}

// collector sees to it that a pipeline names only what is configured, and that all of that is used.
func collector(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config struct {
		Components map[string]map[string]any `yaml:",inline"`
		Service    struct {
			Extensions []string                       `yaml:"extensions"`
			Pipelines  map[string]map[string][]string `yaml:"pipelines"`
		} `yaml:"service"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	unused := map[string]bool{}
	for section, components := range config.Components {
		for name := range components {
			unused[section+"/"+name] = true
		}
	}
	use := func(section string, names []string) error {
		for _, name := range names {
			if _, known := config.Components[section][name]; !known {
				return fmt.Errorf("%s: %s has no %s", path, section, name)
			}
			delete(unused, section+"/"+name)
		}
		return nil
	}
	if err := use("extensions", config.Service.Extensions); err != nil {
		return err
	}
	for _, pipeline := range config.Service.Pipelines {
		for section, names := range pipeline {
			if err := use(section, names); err != nil {
				return err
			}
		}
	}
	for name := range unused {
		return fmt.Errorf("%s: %s is in no pipeline", path, name)
	}
	return nil
}

// dashboard writes each query as a recording rule.
func dashboard(path, rules string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var board struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				RefID string `json:"refId"`
				Expr  string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h")
	seen := map[int]bool{}
	var queries []map[string]string
	for _, panel := range board.Panels {
		if seen[panel.ID] {
			return fmt.Errorf("%s: two panels have the id %d", path, panel.ID)
		}
		seen[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			return fmt.Errorf("%s: panel %q has no query", path, panel.Title)
		}
		for _, target := range panel.Targets {
			name := fmt.Sprintf("panel_%d_%s", panel.ID, target.RefID)
			queries = append(queries, map[string]string{"record": name, "expr": variables.Replace(target.Expr)})
		}
	}
	if len(queries) == 0 {
		return fmt.Errorf("%s: no panel has a query", path)
	}
	group := map[string]any{"name": board.UID, "rules": queries}
	// JSON is YAML.
	out, err := json.Marshal(map[string]any{"groups": []any{group}})
	if err != nil {
		return err
	}
	return os.WriteFile(rules, out, 0o644)
}
