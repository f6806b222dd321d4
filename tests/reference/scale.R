# Values of R's metafor for the meta-regression with families, on made-up vertices.
#   Rscript tests/reference/scale.R    writes tests/reference/scale.json
suppressMessages({library(metafor); library(jsonlite)})
set.seed(3)
family <- rep(1:6, c(4, 3, 3, 2, 2, 1))
n <- length(family)
cases <- lapply(list(families = 0.15, none = 0), function(sd) {
  size <- 8 + runif(6)[family] + 0.5 * runif(n)
  v <- 0.5 + 0.03 * size + sd * rnorm(6)[family] + 0.05 * rnorm(n)
  vi <- 0.0005 * (1 + (1:n) %% 4)
  id <- 1:n
  fit <- rma.mv(v, vi, mods = ~ size, random = ~ 1 | family / id, method = "REML",
                control = list(optimizer = "Nelder-Mead", reltol = 1e-14, maxit = 10000))
  # Knapp and Hartung's factor, which rma.mv leaves out.
  residual <- v - fit$X %*% fit$beta
  q <- c(t(residual) %*% solve(fit$M) %*% residual) / (n - 2)
  list(family = family - 1, size = size, vertex = v, variance = vi, slope = fit$beta[2],
       se = fit$se[2] * sqrt(q), tau2_family = fit$sigma2[1], tau2 = fit$sigma2[2])
})
cases$version <- as.character(packageVersion("metafor"))
write_json(cases, "tests/reference/scale.json", auto_unbox = TRUE, digits = NA, pretty = TRUE)
