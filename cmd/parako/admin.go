package main

import "context"

// admin holds the commands of the first administrators; create-user is `parako user create` by its older name.
func admin(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako admin", []command{{"create-user", "add a person to a tenant, with a password", adminCreateUser}}, args)
}

func adminCreateUser(ctx context.Context, p *process, args []string) error {
	return createUser(ctx, p, "parako admin create-user", args)
}
