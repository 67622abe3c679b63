package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type object = map[string]any

// writeSchemas writes what kubeconform reads from what Kubernetes publishes: one JSON Schema for each kind, in which a field
// that Kubernetes does not know is an error. The swagger file is api/openapi-spec/swagger.json of the Go module
// k8s.io/kubernetes.
func writeSchemas(swagger, folder string) error {
	text, err := os.ReadFile(swagger)
	if err != nil {
		return err
	}
	var spec struct {
		Definitions map[string]object `json:"definitions"`
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("%s: %w", swagger, err)
	}
	for name, definition := range spec.Definitions {
		spec.Definitions[name] = strict(name, definition)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := save(filepath.Join(folder, "_definitions.json"), object{"definitions": spec.Definitions}); err != nil {
		return err
	}
	for name, definition := range spec.Definitions {
		for _, kind := range kinds(definition) {
			// The name that kubeconform asks for: kind, group up to its first dot, version.
			file := strings.ToLower(strings.Join(kind, "-")) + ".json"
			schema := object{"$ref": "_definitions.json#/definitions/" + name}
			if err := save(filepath.Join(folder, file), schema); err != nil {
				return err
			}
		}
	}
	return nil
}

// strict makes a definition say what Kubernetes means: fields that are not named are errors, and what is written as a
// number or a text may be either.
func strict(name string, definition object) object {
	switch {
	case strings.HasSuffix(name, ".IntOrString"):
		return object{"type": []string{"string", "integer"}}
	case strings.HasSuffix(name, ".Quantity"):
		return object{"type": []string{"string", "number"}}
	}
	if _, fields := definition["properties"]; fields && definition["additionalProperties"] == nil {
		definition["additionalProperties"] = false
	}
	// Definitions of other keywords, such as descriptions, say nothing here and make the files large.
	delete(definition, "description")
	return definition
}

// kinds gives kind, first part of the group (none for the core's) and version of each object the definition is of.
func kinds(definition object) [][]string {
	var found [][]string
	list, _ := definition["x-kubernetes-group-version-kind"].([]any)
	for _, item := range list {
		entry, _ := item.(object)
		kind, _ := entry["kind"].(string)
		group, _ := entry["group"].(string)
		version, _ := entry["version"].(string)
		parts := []string{kind}
		if group != "" {
			parts = append(parts, strings.Split(group, ".")[0])
		}
		found = append(found, append(parts, version))
	}
	return found
}

func save(path string, value object) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
