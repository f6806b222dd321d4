# Values of R's clubSandwich and metafor for inference over families, on made-up values.
#   Rscript tests/reference/families.R    writes tests/reference/families.json
suppressMessages({library(metafor); library(clubSandwich); library(jsonlite)})
set.seed(5)
regression <- lapply(list(nine = c(2, 2, 2, 2, 1), twelve = c(3, 3, 3, 3), uneven = c(6, 3, 2, 1)),
                     function(sizes) {
  family <- rep(seq_along(sizes), sizes)
  n <- length(family)
  x <- runif(length(sizes))[family] + 0.3 * runif(n)
  y <- 0.5 + 0.1 * rnorm(length(sizes))[family] + 0.05 * rnorm(n)
  vi <- 0.001 * (1 + (1:n) %% 3)
  lapply(list(none = 0, half = 0.5, most = 0.9), function(share) {
    V <- diag(vi) + 0.01 * ((1 - share) * diag(n) + share * outer(family, family, "=="))
    fit <- rma.mv(y, V, mods = ~ x)
    test <- coef_test(fit, vcov = vcovCR(fit, cluster = family, type = "CR2"),
                      test = "Satterthwaite")
    list(family = family, x = x, y = y, vi = vi, share = share, estimate = test$beta, se = test$SE,
         df = if (is.null(test$df_Satt)) test$df else test$df_Satt)
  })
})

# The mean over families is Student's on the families' means.
y <- c(0.42, 0.55, 0.61, 0.48, 0.50, 0.39, 0.70, 0.52, 0.58)
family <- c("a", "a", "b", "b", "c", "c", "d", "d", "e")
test <- t.test(tapply(y, family, mean))
mean_over <- list(y = y, family = family, estimate = test$estimate[[1]], se = test$stderr,
                  df = test$parameter[[1]], interval = as.numeric(test$conf.int), p = test$p.value)

# Hartung and Knapp's interval with the factor of at least one (Rover, Knapp and Friede 2015).
pool <- function(y, se) {
  fit <- rma(yi = y, sei = se, method = "REML", test = "adhoc",
             control = list(threshold = 1e-14, maxiter = 10000))
  list(y = y, se = se, estimate = as.numeric(fit$beta), error = fit$se, low = fit$ci.lb,
       high = fit$ci.ub, tau = sqrt(fit$tau2))
}
adhoc <- list(alike = pool(c(0.50, 0.51, 0.49, 0.505), c(0.03, 0.02, 0.05, 0.04)),
              apart = pool(c(0.42, 0.55, 0.61, 0.48, 0.39), c(0.03, 0.02, 0.05, 0.04, 0.06)))

# Two methods on invariance_data.csv: the models' differences, by family and by instruction tuning.
d <- read.csv("tests/reference/invariance_data.csv")
value <- aggregate(score ~ model + family + instruct + method,
                   aggregate(score ~ model + family + instruct + method + layer, d, mean), mean)
wide <- merge(subset(value, method == "generation"), subset(value, method == "comprehension"),
              by = c("model", "family", "instruct"))
wide$difference <- wide$score.x - wide$score.y
test <- t.test(tapply(wide$difference, wide$family, mean))
n <- nrow(wide)
V <- 0.5 * diag(n) + 0.5 * outer(wide$family, wide$family, "==")
wide$i <- ifelse(as.logical(wide$instruct), 0.5, -0.5)
fit <- rma.mv(difference, V, mods = ~ i, data = wide)
robust <- coef_test(fit, vcov = vcovCR(fit, cluster = wide$family, type = "CR2"),
                    test = "Satterthwaite")
df <- if (is.null(robust$df_Satt)) robust$df else robust$df_Satt
p <- if (is.null(robust$p_Satt)) robust$p else robust$p_Satt
row <- function(k) list(estimate = robust$beta[k], se = robust$SE[k], df = df[k], p = p[k])
methods <- list(mean = list(estimate = test$estimate[[1]], df = test$parameter[[1]],
                            interval = as.numeric(test$conf.int), p = test$p.value),
                method = row(1), instruct = row(2))

# Shares of texts: CR2 over families that count the same, and Wilson's with Student's quantile.
set.seed(8)
sizes <- c(2, 2, 2, 2, 1)
texts <- expand.grid(scenario = 1:6, model = 1:9)
texts$family <- rep(seq_along(sizes), sizes)[texts$model]
texts$hit <- rbinom(nrow(texts), 1, plogis(1 + rnorm(5)[texts$family] + 0.5 * rnorm(6)[texts$scenario]))
w <- 1 / (6 * sizes[texts$family] * 5)
fit <- lm(hit ~ 1, texts, weights = w)
family <- coef_test(fit, vcov = vcovCR(fit, cluster = texts$family, type = "CR2", target = 1 / w,
                                       inverse_var = TRUE),
                    test = "Satterthwaite")
scenario <- t.test(tapply(w * texts$hit, texts$scenario, sum) / tapply(w, texts$scenario, sum))
n <- 1 / sum(w^2)
t <- qt(0.975, 4)
wilson <- prop.test(coef(fit)[[1]] * n, n, conf.level = 2 * pnorm(t) - 1, correct = FALSE)
shares <- list(scenario = texts$scenario, model = texts$model, family = texts$family,
               hit = texts$hit, estimate = coef(fit)[[1]], se = family$SE,
               df = t.test(tapply(tapply(texts$hit, texts$model, mean), rep(1:5, sizes), mean))$parameter,
               scenario_se = scenario$stderr, wilson = as.numeric(wilson$conf.int))

write_json(list(regression = regression, mean = mean_over, adhoc = adhoc, methods = methods,
                shares = shares,
                versions = as.list(c(R = as.character(getRversion()),
                                     sapply(c("metafor", "clubSandwich"),
                                            function(p) as.character(packageVersion(p)))))),
           "tests/reference/families.json", auto_unbox = TRUE, digits = NA, pretty = TRUE)
