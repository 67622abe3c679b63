// validate checks what is in deploy/ with the libraries that the tools of Kubernetes, Helm and Compose are made of.
//
//	validate schemas SWAGGER FOLDER            writes what `manifests` reads
//	validate manifests SCHEMAS FILE...         checks manifests against Kubernetes' schemas
//	validate kustomize FOLDER                  prints what `kubectl apply -k` applies
//	validate lint CHART VERSION RELEASE NAMESPACE [KEY=VALUE...]      checks a chart, for a version of Kubernetes
//	validate template CHART VERSION RELEASE NAMESPACE [KEY=VALUE...]  prints what the chart installs
//	validate syntax DEPLOY-FOLDER RULES-FILE   checks the other files; the dashboard's queries become rules
package main

import (
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: validate schemas|manifests|kustomize|lint|template|syntax ARGUMENT...")
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(verb string, args []string) error {
	least := map[string]int{"schemas": 2, "manifests": 2, "kustomize": 1, "lint": 4, "template": 4, "syntax": 2}[verb]
	if least == 0 || len(args) < least {
		return fmt.Errorf("%s with %d arguments is not known", verb, len(args))
	}
	switch verb {
	case "schemas":
		return writeSchemas(args[0], args[1])
	case "manifests":
		return checkManifests(args[0], args[1:])
	case "kustomize":
		return kustomize(args[0])
	case "lint":
		return lintChart(args[0], args[1], args[3], args[4:])
	case "template":
		return template(args[0], args[1], args[2], args[3], args[4:])
	default:
		return checkSyntax(args[0], args[1])
	}
}
